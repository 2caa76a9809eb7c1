-- Devices and users: revocation is final and reaches the user's inbox; what has a history stays.

CREATE FUNCTION messaging_device_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.user_id <> OLD.user_id THEN
        PERFORM messaging_refuse(format('Device %s cannot change its owner.', OLD.id),
            'Revoke it and register it again for the other user.');
    ELSIF OLD.revoked IS NOT NULL THEN
        IF NEW.revoked IS NULL THEN
            PERFORM messaging_refuse(format('Device %s is revoked, for ever.', OLD.id),
                'Register the device again: a new installation gets a new token.');
        END IF;
        NEW.revoked := OLD.revoked;
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION messaging_device_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM messaging_message WHERE device_id = OLD.id)
        OR EXISTS (SELECT 1 FROM messaging_receipt WHERE device_id = OLD.id) THEN
        PERFORM messaging_refuse(
            format('Device %s has messages or receipts and cannot be deleted.', OLD.id),
            'Revoke it: UPDATE presence_device SET revoked = now() WHERE id = …');
    END IF;
    RETURN OLD;
END
$$;

CREATE FUNCTION messaging_user_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM presence_device WHERE user_id = OLD.id)
        OR EXISTS (SELECT 1 FROM messaging_membership WHERE user_id = OLD.id) THEN
        PERFORM messaging_refuse(
            format('User %s has devices or conversations and cannot be deleted.', OLD.id),
            'Set is_active to false and revoke the devices; to erase data see lockstep.purge.');
    END IF;
    RETURN OLD;
END
$$;

CREATE FUNCTION messaging_device_record(users uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_bump(users);
    PERFORM messaging_announce(ARRAY(SELECT 'user.' || id FROM unnest(users) AS id));
END
$$;

-- A new device has nothing to catch up with: it starts at each conversation's last change as of now,
-- and pages back through what was before.
CREATE FUNCTION messaging_device_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := messaging_write_as('journal');
BEGIN
    INSERT INTO messaging_receipt (device_id, conversation_id, delivered, delivered_at)
        SELECT n.id, c.id, c.last_seq, statement_timestamp()
        FROM new_rows n
        JOIN messaging_membership m ON m.user_id = n.user_id AND m.left_seq IS NULL
        JOIN messaging_conversation c ON c.id = m.conversation_id AND c.last_seq > 0
        ORDER BY n.id, c.id
        ON CONFLICT (device_id, conversation_id) DO NOTHING;
    PERFORM messaging_write_as(before);
    PERFORM messaging_device_record(ARRAY(SELECT user_id FROM new_rows));
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_device_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_device_record(ARRAY(
        SELECT n.user_id FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE n.revoked IS DISTINCT FROM o.revoked));
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_device_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_device_record(ARRAY(SELECT user_id FROM old_rows));
    RETURN NULL;
END
$$;

CREATE TRIGGER lockstep_update BEFORE UPDATE ON presence_device FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_device_update();
-- In the place of a foreign key of messages, as for conversations.
CREATE TRIGGER lockstep_delete BEFORE DELETE ON presence_device FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_device_delete();
CREATE TRIGGER lockstep_delete BEFORE DELETE ON presence_user FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND current_setting('lockstep.purge', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION messaging_user_delete();
CREATE TRIGGER lockstep_inserted AFTER INSERT ON presence_device
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_device_inserted();
CREATE TRIGGER lockstep_updated AFTER UPDATE ON presence_device
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_device_updated();
CREATE TRIGGER lockstep_deleted AFTER DELETE ON presence_device
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND current_setting('lockstep.purge', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION messaging_device_deleted();
