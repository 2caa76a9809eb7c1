-- Messages written outside the journal: numbered, versioned, never really deleted.

CREATE FUNCTION messaging_message_insert() RETURNS trigger LANGUAGE plpgsql AS $$
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
    IF NEW.deleted IS NOT NULL THEN
        NEW.body := '';
    END IF;
    RETURN NEW;
END
$$;

-- Only kind, body, reply_to and deleted are the writer's to change. A row left as it was keeps its
-- number; it is still returned, because an ORM takes a row that was not updated for one that is gone.
CREATE FUNCTION messaging_message_update() RETURNS trigger LANGUAGE plpgsql AS $$
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

-- The row stays, as a tombstone; the statement's end numbers it.
CREATE FUNCTION messaging_message_delete() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text;
BEGIN
    IF OLD.kind = 'system' THEN
        PERFORM messaging_refuse(format('Message %s: system messages cannot be deleted.', OLD.id),
            'Add "kind <> ''system''" to the condition; to erase data for good see lockstep.purge.');
    END IF;
    before := messaging_write_as('journal');
    UPDATE messaging_message SET body = '', deleted = statement_timestamp(), version = version + 1,
        change_id = NULL, seq = -nextval('messaging_placeholder')
        WHERE id = OLD.id AND deleted IS NULL;
    PERFORM messaging_write_as(before);
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_message_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_number(ARRAY(SELECT id FROM new_rows));
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_message_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_number(ARRAY(SELECT id FROM new_rows WHERE seq < 0));
    RETURN NULL;
END
$$;

-- Rows whose DELETE was turned aside are in no transition table, but only they look like this.
CREATE FUNCTION messaging_message_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_number(ARRAY(
        SELECT id FROM messaging_message WHERE seq < 0 AND deleted IS NOT NULL));
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_message_purged() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := messaging_write_as('journal');
BEGIN
    UPDATE messaging_message SET reply_to_id = NULL
        WHERE reply_to_id IN (SELECT id FROM old_rows);
    PERFORM messaging_write_as(before);
    RETURN NULL;
END
$$;

CREATE TRIGGER lockstep_insert BEFORE INSERT ON messaging_message FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_message_insert();
CREATE TRIGGER lockstep_update BEFORE UPDATE ON messaging_message FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_message_update();
CREATE TRIGGER lockstep_delete BEFORE DELETE ON messaging_message FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND current_setting('lockstep.purge', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION messaging_message_delete();
CREATE TRIGGER lockstep_inserted AFTER INSERT ON messaging_message
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_message_inserted();
CREATE TRIGGER lockstep_updated AFTER UPDATE ON messaging_message
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_message_updated();
CREATE TRIGGER lockstep_deleted AFTER DELETE ON messaging_message FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND current_setting('lockstep.purge', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION messaging_message_deleted();
CREATE TRIGGER lockstep_purged AFTER DELETE ON messaging_message
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND current_setting('lockstep.purge', true) = 'on')
    EXECUTE FUNCTION messaging_message_purged();
