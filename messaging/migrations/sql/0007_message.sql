-- The triggers of messages as in 0002, which says more: a writer outside the journal never writes the
-- list of files itself, a tombstone has none, and a purge takes the files along.

CREATE OR REPLACE FUNCTION messaging_message_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'system' THEN
        PERFORM messaging_refuse('System messages are written by the database only.',
            'Change the membership or the title: the system message follows by itself.');
    ELSIF NEW.kind = 'data' THEN
        PERFORM NEW.body::json;  -- raises what is wrong with it
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

CREATE OR REPLACE FUNCTION messaging_message_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted messaging_message := NEW;
BEGIN
    NEW := OLD;
    IF OLD.deleted IS NOT NULL THEN
        IF wanted.deleted IS NULL THEN
            PERFORM messaging_refuse(format('Message %s is deleted, for ever.', OLD.id),
                'Insert a new message; devices have already forgotten this one.');
        ELSIF wanted.deleted = OLD.deleted AND wanted.body <> '' THEN
            PERFORM messaging_refuse(format('Message %s is deleted and cannot be edited.', OLD.id),
                'Add "deleted IS NULL" to the condition, or insert a new message.');
        END IF;
        RETURN NEW;
    END IF;
    NEW.kind := wanted.kind;
    NEW.body := wanted.body;
    NEW.reply_to_id := wanted.reply_to_id;
    NEW.deleted := wanted.deleted;
    IF NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    ELSIF OLD.kind = 'system' OR NEW.kind = 'system' THEN
        PERFORM messaging_refuse(format('Message %s: system messages cannot be changed.', OLD.id),
            'Change the membership or the title, or add "kind <> ''system''" to the condition.');
    ELSIF NEW.deleted IS NOT NULL THEN
        NEW.body := '';
        NEW.attachments := NULL;
        NEW.deleted := statement_timestamp();
    ELSIF NEW.kind = 'data' THEN
        PERFORM NEW.body::json;
    END IF;
    IF NEW.body <> OLD.body AND NEW.deleted IS NULL THEN
        NEW.edited := statement_timestamp();
    END IF;
    NEW.seq := -nextval('messaging_placeholder');
    NEW.version := OLD.version + 1;
    NEW.change_id := NULL;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION messaging_message_delete() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text;
BEGIN
    IF OLD.kind = 'system' THEN
        PERFORM messaging_refuse(format('Message %s: system messages cannot be deleted.', OLD.id),
            'Add "kind <> ''system''" to the condition; to erase data for good see lockstep.purge.');
    END IF;
    before := messaging_write_as('journal');
    UPDATE messaging_message SET body = '', attachments = NULL, deleted = statement_timestamp(),
        version = version + 1, change_id = NULL, seq = -nextval('messaging_placeholder')
        WHERE id = OLD.id AND deleted IS NULL;
    PERFORM messaging_write_as(before);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION messaging_message_purged() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := messaging_write_as('journal');
BEGIN
    UPDATE messaging_message SET reply_to_id = NULL
        WHERE reply_to_id IN (SELECT id FROM old_rows);
    DELETE FROM messaging_attachment WHERE message_id IN (SELECT id FROM old_rows);
    PERFORM messaging_write_as(before);
    RETURN NULL;
END
$$;
