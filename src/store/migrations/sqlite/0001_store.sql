-- The ledger. Times are milliseconds since 1970-01-01T00:00:00Z. Migrations are append-only.

pragma application_id = 0x75736872; -- "ushr": this file is ours

create table directory (
    id            integer primary key,
    name          text    not null unique,
    settings      text    not null,           -- what the cursor depends on
    cursor        blob,
    cursor_stored integer,
    generation    integer not null default 0, -- grows by one with each listing
    listed        integer,                    -- when the last complete listing ended
    stream        text    not null default '',
    connected     integer not null default 0 check (connected in (0, 1)),
    error         text,
    recorded      integer                     -- when stream, connected and error were last written
) strict;

create table member (
    id        integer primary key,
    directory integer not null references directory,
    entry_id  blob    not null check (length(entry_id) = 16),
    dn        text    not null,
    address   text,
    standing  text    not null check (standing in ('member', 'without-address', 'left')),
    reason    text,                           -- why there is no usable address
    seen      integer not null,               -- the generation that last saw the entry
    unique (directory, entry_id),
    check (standing <> 'member' or address is not null),
    check ((standing = 'without-address') = (reason is not null))
) strict;

create index member_address on member (address) where standing = 'member';

create table task (
    id          integer primary key,
    address     text    not null unique,      -- one address has one task
    member      integer not null references member,
    state       text    not null check (state in ('staged', 'queued', 'held', 'done', 'quarantined', 'cancelled')),
    due         integer not null,             -- while queued: not before this
    lease_until integer,                      -- claimed until then
    in_doubt    integer not null default 0 check (in_doubt in (0, 1)),
    checked     integer not null default 0 check (checked in (0, 1)), -- compared with Vaultwarden's accounts
    attempts    integer not null default 0,   -- failed ones
    arrived     integer not null,             -- when the change that caused it arrived
    since       integer not null,             -- when it came to its present state
    reason      text,                         -- the last error, or why it is quarantined
    outcome     text check (outcome in ('invited', 'had-account')),
    check (state = 'queued' or (lease_until is null and in_doubt = 0)),
    check ((state = 'done') = (outcome is not null))
) strict;

create index task_member on task (member);
-- Spelt with `or`, so that SQLite sees that each single state implies it.
create index task_open on task (state, due) where state = 'staged' or state = 'queued' or state = 'held';
create index task_lease on task (lease_until) where lease_until is not null;
create index task_failing on task (arrived) where state = 'queued' and reason is not null;
create index task_quarantined on task (since) where state = 'quarantined';

create table note (
    name  text primary key,
    value blob not null
) strict, without rowid;

-- Counts, kept by triggers: metrics ask every few seconds, and counting a million rows takes too long for that.

create table member_count (
    directory integer not null references directory,
    standing  text    not null,
    members   integer not null check (members >= 0),
    primary key (directory, standing)
) strict, without rowid;

create trigger directory_added after insert on directory begin
    insert into member_count
    values (new.id, 'member', 0), (new.id, 'without-address', 0), (new.id, 'left', 0);
end;

create trigger member_added after insert on member begin
    update member_count set members = members + 1 where directory = new.directory and standing = new.standing;
end;

create trigger member_changed after update of standing on member when old.standing <> new.standing begin
    update member_count set members = members - 1 where directory = old.directory and standing = old.standing;
    update member_count set members = members + 1 where directory = new.directory and standing = new.standing;
end;

create table task_count (
    state   text    not null,
    checked integer not null,
    tasks   integer not null check (tasks >= 0),
    primary key (state, checked)
) strict, without rowid;

insert into task_count
values ('staged', 0, 0), ('queued', 0, 0), ('held', 0, 0), ('done', 0, 0), ('quarantined', 0, 0), ('cancelled', 0, 0),
       ('staged', 1, 0), ('queued', 1, 0), ('held', 1, 0), ('done', 1, 0), ('quarantined', 1, 0), ('cancelled', 1, 0);

create trigger task_added after insert on task begin
    update task_count set tasks = tasks + 1 where state = new.state and checked = new.checked;
end;

create trigger task_changed after update of state, checked on task
when old.state <> new.state or old.checked <> new.checked begin
    update task_count set tasks = tasks - 1 where state = old.state and checked = old.checked;
    update task_count set tasks = tasks + 1 where state = new.state and checked = new.checked;
end;
