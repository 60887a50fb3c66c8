-- What happened to people, oldest first. Append only; the oldest rows are pruned. It has no index but its own order: a
-- change appends, and only somebody who runs a command looks for a person.
create table journal (
    id        integer primary key,
    at        integer not null,
    directory integer not null references directory,
    entry_id  blob,                          -- null where it concerns the directory as a whole
    dn        text    not null,
    address   text,
    source    text    not null,
    event     text    not null               -- the event and its details, as JSON
) strict;
