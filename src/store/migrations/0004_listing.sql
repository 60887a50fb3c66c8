-- A listing is a set that lives as long as it runs, so nothing of it is stored with the members, and no invitation waits
-- for its end.

alter table member drop column seen;
alter table directory drop column generation;
-- A listing whose new people are held has not ended.
alter table directory add column brake_holding integer not null default 0 check (brake_holding in (0, 1));
-- The digest of the entry by which the member came to stand so; null where something else decided.
alter table member add column decided_on integer;

-- Counts are written with the changes that they count, once a transaction.
drop trigger directory_added;
drop trigger member_added;
drop trigger member_changed;
drop trigger action_added;
drop trigger action_changed;

-- Those of a listing that never ended are held, and released by the comparison with the accounts if they are few.
update action set state = 'held', compared = 0 where state = 'staged';
update journal set event = replace(event, '"state":"staged"', '"state":"queued"') where event like '%"state":"staged"%';
delete from action_count;
insert into action_count select state, compared, count(*) from action group by state, compared;

drop index action_open;
-- Spelt with `or`, so that SQLite sees that each single state implies it.
create index action_open on action (state, due) where state = 'queued' or state = 'held';
