-- The rules move into the program; what it stores gets room for them.

alter table directory add column scope text not null default '';          -- base and filter: what a renamed directory is known by
alter table directory add column retired integer not null default 0 check (retired in (0, 1)); -- not configured any more
-- How many new people it has brought lately.
alter table directory add column brake_listed integer not null default 0;
alter table directory add column brake_listed_at integer not null default 0;
alter table directory add column brake_changed integer not null default 0;
alter table directory add column brake_changed_since integer not null default 0;

-- They left, and have not been a member since.
alter table member add column had_left integer not null default 0 check (had_left in (0, 1));

create table action (
    id          integer primary key,
    kind        text    not null,             -- 'invite'
    address     text    not null,
    member      integer not null references member,
    state       text    not null check (state in ('staged', 'queued', 'held', 'done', 'quarantined', 'cancelled')),
    due         integer not null,             -- while queued: not before this
    owner       integer,                      -- the worker that has claimed it
    doubt_since integer,                      -- the outcome of an attempt is unknown, since then
    compared    integer not null default 0 check (compared in (0, 1, 2)), -- with Vaultwarden's accounts; 2: under way
    was_held    integer not null default 0 check (was_held in (0, 1)),    -- when it was cancelled
    attempts    integer not null default 0,   -- failed ones
    arrived     integer not null,             -- when the change that caused it arrived
    since       integer not null,             -- when it came to its present state
    reason      text,                         -- the last error, or why it is held or quarantined
    fault       text,                         -- what others who are quarantined may have in common with it
    outcome     text check (outcome in ('invited', 'had-account')),
    unique (kind, address),                   -- one address is owed one thing of a kind
    check (state = 'queued' or (owner is null and doubt_since is null)),
    check ((state = 'done') = (outcome is not null))
) strict;

insert into action (id, kind, address, member, state, due, owner, doubt_since, compared, attempts, arrived, since, reason, outcome)
select id, 'invite', address, member, state, due, iif(lease_until is null, null, 0), iif(in_doubt, since, null), checked,
       attempts, arrived, since, reason, outcome
from task;

drop table task;
drop table task_count;

create index action_member on action (member);
-- Spelt with `or`, so that SQLite sees that each single state implies it.
create index action_open on action (state, due) where state = 'staged' or state = 'queued' or state = 'held';
create index action_claimed on action (owner) where owner is not null;
create index action_failing on action (arrived) where state = 'queued' and reason is not null;
create index action_quarantined on action (since) where state = 'quarantined';

create table action_count (
    state    text    not null,
    compared integer not null,
    actions  integer not null check (actions >= 0),
    primary key (state, compared)
) strict, without rowid;

insert into action_count
select s.value, c.value, (select count(*) from action where state = s.value and compared = c.value)
from json_each('["staged", "queued", "held", "done", "quarantined", "cancelled"]') s, json_each('[0, 1, 2]') c;

create trigger action_added after insert on action begin
    update action_count set actions = actions + 1 where state = new.state and compared = new.compared;
end;

create trigger action_changed after update of state, compared on action
when old.state <> new.state or old.compared <> new.compared begin
    update action_count set actions = actions - 1 where state = old.state and compared = old.compared;
    update action_count set actions = actions + 1 where state = new.state and compared = new.compared;
end;
