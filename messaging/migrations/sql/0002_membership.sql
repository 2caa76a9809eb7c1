-- Stays written outside the journal: joining, changing role and leaving are system messages in the
-- conversation's own order, and the stay bears their numbers.

-- Record one event of these stays: the system message, its number on the stay, inboxes, hint.
CREATE FUNCTION messaging_membership_record(stays uuid[], event text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    conversations uuid[];
    users uuid[];
    bodies jsonb[];
    numbers bigint[];
    before text;
BEGIN
    SELECT array_agg(s.id ORDER BY s.id), array_agg(s.conversation_id ORDER BY s.id),
        array_agg(s.user_id ORDER BY s.id), array_agg(jsonb_strip_nulls(jsonb_build_object(
            'event', event, 'user', s.user_id, 'name', coalesce(u.username, ''),
            'role', CASE WHEN event <> 'left' THEN s.role END)) ORDER BY s.id)
        INTO ids, conversations, users, bodies
        FROM messaging_membership s LEFT JOIN presence_user u ON u.id = s.user_id
        WHERE s.id = ANY (stays);
    IF ids IS NULL THEN
        RETURN;
    END IF;
    numbers := messaging_append_system(conversations, bodies);
    before := messaging_write_as('journal');
    UPDATE messaging_membership s SET
        joined_seq = CASE event WHEN 'joined' THEN n.number ELSE s.joined_seq END,
        left_seq = CASE event WHEN 'left' THEN n.number ELSE s.left_seq END
        FROM unnest(ids, numbers) AS n (id, number) WHERE n.id = s.id AND event <> 'role';
    PERFORM messaging_write_as(before);
    PERFORM messaging_bump(users);
    PERFORM messaging_announce(ARRAY(
        SELECT 'conversation.' || id FROM unnest(conversations) AS id
        UNION SELECT 'user.' || id FROM unnest(users) AS id));
END
$$;

CREATE FUNCTION messaging_membership_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.joined_seq := 0;
    NEW.left_seq := NULL;
    RETURN NEW;
END
$$;

-- Only role and left_seq are the writer's to change; a left_seq of -1 waits for its number.
CREATE FUNCTION messaging_membership_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted messaging_membership := NEW;
BEGIN
    IF (NEW.id, NEW.conversation_id, NEW.user_id)
        IS DISTINCT FROM (OLD.id, OLD.conversation_id, OLD.user_id) THEN
        PERFORM messaging_refuse('A stay cannot move to another user or conversation.',
            'End it (DELETE) and insert a new membership.');
    END IF;
    NEW := OLD;
    IF OLD.left_seq IS NULL THEN
        IF wanted.left_seq IS NULL THEN
            NEW.role := wanted.role;
        ELSE
            NEW.left_seq := -1;
        END IF;
    ELSIF wanted.left_seq IS NULL OR wanted.role <> OLD.role THEN
        PERFORM messaging_refuse('This stay has ended and cannot be changed.',
            'To bring the user back insert a new membership.');
    END IF;
    RETURN NEW;
END
$$;

-- The row stays, as the record of the stay; the statement's end numbers it.
CREATE FUNCTION messaging_membership_delete() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := messaging_write_as('journal');
BEGIN
    UPDATE messaging_membership SET left_seq = -1 WHERE id = OLD.id AND left_seq IS NULL;
    PERFORM messaging_write_as(before);
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_membership_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_membership_record(ARRAY(SELECT id FROM new_rows), 'joined');
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_membership_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_membership_record(ARRAY(SELECT id FROM new_rows WHERE left_seq < 0), 'left');
    PERFORM messaging_membership_record(ARRAY(
        SELECT n.id FROM new_rows n JOIN old_rows o ON o.id = n.id WHERE n.role <> o.role), 'role');
    RETURN NULL;
END
$$;

-- Rows whose DELETE was turned aside are in no transition table, but only they look like this.
CREATE FUNCTION messaging_membership_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_membership_record(ARRAY(
        SELECT id FROM messaging_membership WHERE left_seq < 0), 'left');
    RETURN NULL;
END
$$;

CREATE TRIGGER lockstep_insert BEFORE INSERT ON messaging_membership FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_membership_insert();
CREATE TRIGGER lockstep_update BEFORE UPDATE ON messaging_membership FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_membership_update();
CREATE TRIGGER lockstep_delete BEFORE DELETE ON messaging_membership FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND current_setting('lockstep.purge', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION messaging_membership_delete();
CREATE TRIGGER lockstep_inserted AFTER INSERT ON messaging_membership
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_membership_inserted();
CREATE TRIGGER lockstep_updated AFTER UPDATE ON messaging_membership
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_membership_updated();
CREATE TRIGGER lockstep_deleted AFTER DELETE ON messaging_membership FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND current_setting('lockstep.purge', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION messaging_membership_deleted();
