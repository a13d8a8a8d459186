-- +goose Up
-- A display is held by one journey at a time: held_by and held_n are the journey
-- and the claim of it that named the display last, where they are not the first
-- claim's. The first claim stays as it is, since charges are proven by it.
ALTER TABLE code_use ADD COLUMN held_by uuid;
ALTER TABLE code_use ADD COLUMN held_n int;
ALTER TABLE code_use ADD CHECK ((held_by IS NULL) = (held_n IS NULL));
GRANT UPDATE (held_by, held_n) ON code_use TO citygate_app;

-- accepted_n is the last claim of a journey that was accepted, 0 if none was.
ALTER TABLE claims ADD COLUMN accepted_n int NOT NULL DEFAULT 0;
UPDATE claims SET accepted_n = n WHERE state = 'accepted';
GRANT UPDATE (accepted_n) ON claims TO citygate_app;
