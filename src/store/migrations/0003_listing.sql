-- A listing is a set that lives as long as it runs, so nothing of it is stored with the members.

alter table member drop column seen;
alter table directory drop column generation;
-- The digest of the entry by which the member came to stand so; null where something else decided.
alter table member add column decided_on integer;
