-- Files of messages: what a message shows of them is in its own row, so that feeds cost nothing more.
--
-- Laws: a file is of one message at most; the list in the message is made of these rows, never the other
-- way round. The journal takes files in `messaging_append`; a foreign write of these rows is a change of
-- the messages concerned, numbered and announced as any other.

-- A file as the wire shows it; a test compares it with `Attachment` of the protocol's frames.
CREATE FUNCTION messaging_attachment_wire(file messaging_attachment) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('id', file.id, 'name', file.name, 'size', file.size, 'type', file.type,
        'sha256', file.sha256)
$$;

-- What a new message shows of these files, in their order; NULL if one of them is named twice, is not of
-- this user's devices, or is another message's.
CREATE FUNCTION messaging_attachment_taken(ids uuid[], owner uuid) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN count(DISTINCT f.id) = cardinality(ids)
                THEN jsonb_agg(messaging_attachment_wire(f) ORDER BY asked.place) END
      FROM unnest(ids) WITH ORDINALITY AS asked (id, place)
      JOIN messaging_attachment f ON f.id = asked.id AND f.message_id IS NULL
      JOIN presence_device d ON d.id = f.device_id AND d.user_id = owner
$$;

-- Make the lists of these messages anew, in the order that they had; a tombstone shows nothing.
-- The conversations are locked first, so that the next statement sees what was waited for.
CREATE FUNCTION messaging_attachment_show(messages uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    before text;
    changed uuid[];
BEGIN
    messages := ARRAY(SELECT id FROM messaging_message WHERE id = ANY (messages) AND deleted IS NULL);
    IF cardinality(messages) = 0 THEN
        RETURN;
    END IF;
    PERFORM messaging_lock(ARRAY(
        SELECT DISTINCT conversation_id FROM messaging_message WHERE id = ANY (messages)));
    before := messaging_write_as('journal');
    WITH shown AS (
        SELECT m.id, (
            SELECT jsonb_agg(messaging_attachment_wire(f) ORDER BY array_position(ARRAY(
                    SELECT known->>'id' FROM jsonb_array_elements(m.attachments) AS known), f.id::text), f.id)
              FROM messaging_attachment f WHERE f.message_id = m.id) AS files
        FROM messaging_message m WHERE m.id = ANY (messages) AND m.deleted IS NULL
    ), told AS (
        UPDATE messaging_message m SET attachments = s.files, version = m.version + 1, change_id = NULL,
            edited = statement_timestamp(), seq = -nextval('messaging_placeholder')
        FROM shown s WHERE s.id = m.id AND m.attachments IS DISTINCT FROM s.files
        RETURNING m.id
    )
    SELECT array_agg(id) INTO changed FROM told;
    PERFORM messaging_write_as(before);
    IF changed IS NOT NULL THEN
        PERFORM messaging_number(changed);
    END IF;
END
$$;

CREATE FUNCTION messaging_attachment_check() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    there messaging_message;
BEGIN
    SELECT * INTO there FROM messaging_message WHERE id = NEW.message_id;
    IF there.kind = 'system' THEN
        PERFORM messaging_refuse(format('Message %s: system messages have no files.', there.id),
            'Attach it to a message of somebody.');
    ELSIF there.deleted IS NOT NULL THEN
        PERFORM messaging_refuse(format('Message %s is deleted, for ever.', there.id),
            'Attach the file to a new message.');
    ELSIF (SELECT count(*) FROM messaging_attachment WHERE message_id = NEW.message_id AND id <> NEW.id) >= 10 THEN
        PERFORM messaging_refuse(format('Message %s has ten files; there can be no more.', there.id),
            'Attach the file to a new message.');
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION messaging_attachment_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_attachment_show(ARRAY(
        SELECT DISTINCT message_id FROM new_rows WHERE message_id IS NOT NULL));
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_attachment_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_attachment_show(ARRAY(
        SELECT message_id FROM new_rows WHERE message_id IS NOT NULL
        UNION SELECT message_id FROM old_rows WHERE message_id IS NOT NULL));
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_attachment_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_attachment_show(ARRAY(
        SELECT DISTINCT message_id FROM old_rows WHERE message_id IS NOT NULL));
    RETURN NULL;
END
$$;

CREATE TRIGGER lockstep_insert BEFORE INSERT ON messaging_attachment FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND NEW.message_id IS NOT NULL)
    EXECUTE FUNCTION messaging_attachment_check();
CREATE TRIGGER lockstep_update BEFORE UPDATE ON messaging_attachment FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND NEW.message_id IS NOT NULL AND NEW.message_id IS DISTINCT FROM OLD.message_id)
    EXECUTE FUNCTION messaging_attachment_check();
CREATE TRIGGER lockstep_inserted AFTER INSERT ON messaging_attachment
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_attachment_inserted();
CREATE TRIGGER lockstep_updated AFTER UPDATE ON messaging_attachment
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_attachment_updated();
CREATE TRIGGER lockstep_deleted AFTER DELETE ON messaging_attachment
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_attachment_deleted();
CREATE TRIGGER lockstep_truncate BEFORE TRUNCATE ON messaging_attachment FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND current_setting('lockstep.purge', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION messaging_truncate();

-- As in 0002: the functions find our tables whatever search_path the writing session has.
DO $do$
DECLARE
    fn regprocedure;
BEGIN
    FOR fn IN SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
        AND proname LIKE 'messaging\_attachment\_%' AND proname <> 'messaging_attachment_wire'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path FROM CURRENT', fn);
    END LOOP;
END
$do$;
