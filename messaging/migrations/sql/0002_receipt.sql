-- Receipts written outside the journal: marks only rise, never beyond the conversation, and the
-- times are those of their last move.

CREATE FUNCTION messaging_receipt_write() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_delivered bigint := 0;
    old_read bigint := 0;
    last bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.id, NEW.device_id, NEW.conversation_id)
            IS DISTINCT FROM (OLD.id, OLD.device_id, OLD.conversation_id) THEN
            PERFORM messaging_refuse('A receipt cannot move to another device or conversation.',
                'Insert a receipt for that device and conversation.');
        END IF;
        old_delivered := OLD.delivered;
        old_read := OLD.read;
        NEW.delivered_at := OLD.delivered_at;
        NEW.read_at := OLD.read_at;
        NEW.changed := OLD.changed;
    END IF;
    NEW.read := greatest(NEW.read, old_read);
    NEW.delivered := greatest(NEW.delivered, NEW.read, old_delivered);
    SELECT last_seq INTO last FROM messaging_conversation WHERE id = NEW.conversation_id;
    IF NEW.delivered > last THEN
        PERFORM messaging_refuse(
            format('Mark %s is beyond the last number %s of conversation %s.',
                NEW.delivered, last, NEW.conversation_id),
            'Mark what the device has been given: at most last_seq of the conversation.');
    END IF;
    IF NEW.delivered > old_delivered THEN
        NEW.delivered_at := statement_timestamp();
        NEW.changed := statement_timestamp();
    END IF;
    IF NEW.read > old_read THEN
        NEW.read_at := statement_timestamp();
        NEW.changed := statement_timestamp();
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION messaging_receipt_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_refuse('Receipts are never taken back.',
        'Revoke the device to leave it out of the counts; to erase data for good see lockstep.purge.');
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_receipt_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_announce(ARRAY(SELECT 'conversation.' || conversation_id FROM new_rows));
    RETURN NULL;
END
$$;

CREATE FUNCTION messaging_receipt_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_announce(ARRAY(
        SELECT 'conversation.' || n.conversation_id FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE (n.delivered, n.read) <> (o.delivered, o.read)));
    RETURN NULL;
END
$$;

CREATE TRIGGER lockstep_write BEFORE INSERT OR UPDATE ON messaging_receipt FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_receipt_write();
CREATE TRIGGER lockstep_delete BEFORE DELETE ON messaging_receipt FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND current_setting('lockstep.purge', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION messaging_receipt_delete();
CREATE TRIGGER lockstep_inserted AFTER INSERT ON messaging_receipt
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_receipt_inserted();
CREATE TRIGGER lockstep_updated AFTER UPDATE ON messaging_receipt
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_receipt_updated();
