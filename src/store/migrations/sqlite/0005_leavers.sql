-- Leavers: actions of further kinds, the accounts in our care, and the count of people who left a directory lately.

alter table directory add column leave_listed integer not null default 0;
alter table directory add column leave_listed_at integer not null default 0;
alter table directory add column leave_changed integer not null default 0;
alter table directory add column leave_changed_since integer not null default 0;
-- An administrator said that its people have left. Only while it is retired.
alter table directory add column forgotten integer not null default 0 check (forgotten in (0, 1));

create table former_action as select * from action;
drop table action;

create table action (
    id            integer primary key,
    kind          text    not null,             -- 'invite', 'disable', ..
    address       text    not null,
    member        integer not null references member,
    state         text    not null check (state = 'queued' or state = 'held' or state = 'done' or state = 'quarantined'
                                          or state = 'cancelled'),
    due           integer not null,             -- while queued: not before this
    owner         integer,                      -- the worker that has claimed it
    doubt_since   integer,                      -- the outcome of an attempt is unknown, since then
    compared      integer not null default 0 check (compared between 0 and 2), -- with Vaultwarden's accounts; 2: under way
    was_held      integer not null default 0 check (was_held in (0, 1)),       -- when it was cancelled
    attempts      integer not null default 0,   -- failed ones
    arrived       integer not null,             -- when the change that caused it arrived
    since         integer not null,             -- when it came to its present state
    reason        text,                         -- the last error, or why it is held or quarantined
    fault         text,                         -- what others who are quarantined may have in common with it
    outcome       text,
    -- The account at the address of an invitation, if it is in our care.
    care          text,                         -- 'invited' or 'adopted'
    account       text,                         -- its id in Vaultwarden
    account_state text,
    care_since    integer,
    reminders     integer not null default 0,
    reminded      integer,                      -- when the last reminder was sent
    unique (address, kind),                     -- one address is owed one thing of a kind
    check (state = 'queued' or (owner is null and doubt_since is null)),
    check ((state = 'done') = (outcome is not null)),
    check ((care is null) = (account_state is null) and (care is null) = (care_since is null))
) strict;

insert into action (id, kind, address, member, state, due, owner, doubt_since, compared, was_held, attempts, arrived, since,
                    reason, fault, outcome, care, account_state, care_since)
select id, kind, address, member, state, due, owner, doubt_since, compared, was_held, attempts, arrived, since, reason, fault,
       outcome, iif(outcome = 'invited', 'invited', null), iif(outcome = 'invited', 'invited', null),
       iif(outcome = 'invited', since, null)
from former_action;

drop table former_action;

create index action_member on action (member);
-- Spelt with `or`, so that SQLite sees that each single state implies it.
create index action_open on action (state, due) where state = 'queued' or state = 'held';
create index action_claimed on action (owner) where owner is not null;
create index action_failing on action (arrived) where state = 'queued' and reason is not null;
create index action_quarantined on action (since) where state = 'quarantined';
create index action_unregistered on action (care_since, id) where account_state = 'invited';
create index action_account on action (account) where account is not null;

-- People without a usable address keep the account of another who leaves.
drop index member_address;
create index member_address on member (address) where standing <> 'left';

drop table action_count;
create table action_count (
    kind     text    not null,
    state    text    not null,
    compared integer not null,
    actions  integer not null check (actions >= 0),
    primary key (kind, state, compared)
) strict, without rowid;
insert into action_count select kind, state, compared, count(*) from action group by kind, state, compared;
