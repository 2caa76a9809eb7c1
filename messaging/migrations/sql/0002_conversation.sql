-- Conversations written outside the journal: the counter is the database's, a title is an event.

CREATE FUNCTION messaging_conversation_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_seq := 0;
    RETURN NEW;
END
$$;

CREATE FUNCTION messaging_conversation_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.kind <> OLD.kind THEN
        PERFORM messaging_refuse(format('Conversation %s: id and kind cannot change.', OLD.id),
            'Insert a new conversation.');
    END IF;
    NEW.last_seq := OLD.last_seq;
    NEW.created := OLD.created;
    RETURN NEW;
END
$$;

CREATE FUNCTION messaging_conversation_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM messaging_message WHERE conversation_id = OLD.id) THEN
        PERFORM messaging_refuse(format('Conversation %s has messages and cannot be deleted.', OLD.id),
            'Remove its members instead; to erase it for good purge its messages first (lockstep.purge).');
    END IF;
    RETURN OLD;
END
$$;

CREATE FUNCTION messaging_conversation_updated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    bodies jsonb[];
BEGIN
    SELECT array_agg(n.id ORDER BY n.id), array_agg(
            jsonb_build_object('event', 'title', 'title', n.title) ORDER BY n.id)
        INTO ids, bodies
        FROM new_rows n JOIN old_rows o ON o.id = n.id WHERE n.title <> o.title;
    IF ids IS NOT NULL THEN
        PERFORM messaging_append_system(ids, bodies);
        PERFORM messaging_announce(ARRAY(SELECT 'conversation.' || id FROM unnest(ids) AS id));
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER lockstep_insert BEFORE INSERT ON messaging_conversation FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_conversation_insert();
CREATE TRIGGER lockstep_update BEFORE UPDATE ON messaging_conversation FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_conversation_update();
-- In the place of a foreign key of messages, whose check per row cost a quarter of the journal's time:
-- it holds for purges too.
CREATE TRIGGER lockstep_delete BEFORE DELETE ON messaging_conversation FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_conversation_delete();
CREATE TRIGGER lockstep_updated AFTER UPDATE ON messaging_conversation
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_conversation_updated();
