-- A listing is a set that lives as long as it runs, so nothing of it is stored with the members, and no invitation waits
-- for its end.

alter table directory drop column generation;
-- A listing whose new people are held has not ended.
alter table directory add column brake_holding integer not null default 0 check (brake_holding in (0, 1));

-- Members and actions are rewritten: for a check `in` three values or more, SQLite builds a table with each row written.
-- Nobody may refer to a member while its table is replaced.

create table former_action as select * from action;
drop table action;

create table new_member (
    id         integer primary key,
    directory  integer not null references directory,
    entry_id   blob    not null check (length(entry_id) = 16),
    dn         text    not null,
    address    text,
    standing   text    not null check (standing = 'member' or standing = 'without-address' or standing = 'left'),
    reason     text,                          -- why there is no usable address
    had_left   integer not null default 0 check (had_left in (0, 1)), -- they left, and have not been a member since
    decided_on integer,                       -- the digest of the entry by which they came to stand so
    unique (directory, entry_id),
    check (standing <> 'member' or address is not null),
    check ((standing = 'without-address') = (reason is not null))
) strict;

insert into new_member (id, directory, entry_id, dn, address, standing, reason, had_left)
select id, directory, entry_id, dn, address, standing, reason, had_left from member;

drop table member;
alter table new_member rename to member;

create index member_address on member (address) where standing = 'member';

create table action (
    id          integer primary key,
    kind        text    not null,             -- 'invite'
    address     text    not null,
    member      integer not null references member,
    state       text    not null check (state = 'queued' or state = 'held' or state = 'done' or state = 'quarantined'
                                        or state = 'cancelled'),
    due         integer not null,             -- while queued: not before this
    owner       integer,                      -- the worker that has claimed it
    doubt_since integer,                      -- the outcome of an attempt is unknown, since then
    compared    integer not null default 0 check (compared between 0 and 2), -- with Vaultwarden's accounts; 2: under way
    was_held    integer not null default 0 check (was_held in (0, 1)),       -- when it was cancelled
    attempts    integer not null default 0,   -- failed ones
    arrived     integer not null,             -- when the change that caused it arrived
    since       integer not null,             -- when it came to its present state
    reason      text,                         -- the last error, or why it is held or quarantined
    fault       text,                         -- what others who are quarantined may have in common with it
    outcome     text check (outcome in ('invited', 'had-account')),
    unique (address, kind),                   -- one address is owed one thing of a kind
    check (state = 'queued' or (owner is null and doubt_since is null)),
    check ((state = 'done') = (outcome is not null))
) strict;

-- Those of a listing that never ended are held, and released by the comparison with the accounts if they are few.
insert into action (id, kind, address, member, state, due, owner, doubt_since, compared, was_held, attempts, arrived, since,
                    reason, fault, outcome)
select id, kind, address, member, iif(state = 'staged', 'held', state), due, owner, doubt_since,
       iif(state = 'staged', 0, compared), was_held, attempts, arrived, since, reason, fault, outcome
from former_action;

drop table former_action;

create index action_member on action (member);
-- Spelt with `or`, so that SQLite sees that each single state implies it.
create index action_open on action (state, due) where state = 'queued' or state = 'held';
create index action_claimed on action (owner) where owner is not null;
create index action_failing on action (arrived) where state = 'queued' and reason is not null;
create index action_quarantined on action (since) where state = 'quarantined';

update journal set event = replace(event, '"state":"staged"', '"state":"queued"') where event like '%"state":"staged"%';

-- Counts are written with the changes that they count, once a transaction.
drop trigger directory_added;
delete from member_count;
insert into member_count select directory, standing, count(*) from member group by directory, standing;
delete from action_count;
insert into action_count select state, compared, count(*) from action group by state, compared;
