-- A message is small whoever writes it: every device gets it in one frame, whose size is limited.
-- System messages are the triggers' own: a name or a title, at most 200 characters.

CREATE FUNCTION messaging_message_too_large() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_refuse(
        format('The body of message %s has %s bytes; the limit is 65536.', NEW.id, octet_length(NEW.body)),
        'Store large content as a file elsewhere and send a link to it.');
    RETURN NULL;
END
$$;
ALTER FUNCTION messaging_message_too_large SET search_path FROM CURRENT;

CREATE TRIGGER lockstep_body_inserted BEFORE INSERT ON messaging_message FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND octet_length(NEW.body) > 65536)
    EXECUTE FUNCTION messaging_message_too_large();
CREATE TRIGGER lockstep_body_updated BEFORE UPDATE ON messaging_message FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
          AND octet_length(NEW.body) > 65536 AND NEW.body <> OLD.body)
    EXECUTE FUNCTION messaging_message_too_large();
