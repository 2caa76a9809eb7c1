-- The triggers of messages and conversations as in 0007 and 0002, which say more. A message has a date that can be
-- read: of one that has not no page can be made. Up to where changes are gone for real only rises.

CREATE OR REPLACE FUNCTION messaging_message_insert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first_day CONSTANT timestamptz := '0001-01-02 UTC';
    last_day CONSTANT timestamptz := '9999-12-31 UTC';
BEGIN
    IF NEW.kind = 'system' THEN
        PERFORM messaging_refuse('System messages are written by the database only.',
            'Change the membership or the title: the system message follows by itself.');
    ELSIF NEW.kind = 'data' THEN
        PERFORM NEW.body::json;  -- raises what is wrong with it
    END IF;
    -- "infinity" is no number of milliseconds, and few programs know years beyond these.
    IF NEW.created NOT BETWEEN first_day AND last_day OR NEW.deleted NOT BETWEEN first_day AND last_day THEN
        PERFORM messaging_refuse(format('Message %s has no date that devices can show.', NEW.id),
            'Give created and deleted a date of the years 1 to 9999, or leave them to the database.');
    END IF;
    PERFORM 1 FROM presence_device WHERE id = NEW.device_id FOR KEY SHARE;
    IF NEW.device_id IS NOT NULL AND NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
            MESSAGE = format('There is no device %s.', NEW.device_id),
            HINT = 'Leave device_id empty, or register the device first.';
    END IF;
    NEW.seq := -nextval('messaging_placeholder');
    NEW.position := NEW.seq;
    NEW.version := 1;
    NEW.change_id := NULL;
    NEW.edited := NULL;
    NEW.attachments := NULL;
    IF NEW.deleted IS NOT NULL THEN
        NEW.body := '';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION messaging_conversation_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.kind <> OLD.kind THEN
        PERFORM messaging_refuse(format('Conversation %s: id and kind cannot change.', OLD.id),
            'Insert a new conversation.');
    END IF;
    NEW.last_seq := OLD.last_seq;
    NEW.purged_seq := greatest(NEW.purged_seq, OLD.purged_seq);  -- an ORM writes back what it has read
    NEW.created := OLD.created;
    RETURN NEW;
END
$$;
