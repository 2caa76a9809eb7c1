-- Who may read what was said before they joined is a rule that open sessions keep: they are told when it changes,
-- as of any change of their memberships.
CREATE FUNCTION messaging_conversation_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    users uuid[] := ARRAY(SELECT user_id FROM messaging_membership
        WHERE conversation_id = NEW.id AND left_seq IS NULL);
BEGIN
    PERFORM messaging_bump(users);
    PERFORM messaging_announce(ARRAY(SELECT 'user.' || id FROM unnest(users) AS id));
    RETURN NULL;
END
$$;
ALTER FUNCTION messaging_conversation_history SET search_path FROM CURRENT;

-- Of that column alone: the journal, which moves another one with every batch, never asks.
CREATE TRIGGER lockstep_history AFTER UPDATE OF history ON messaging_conversation FOR EACH ROW
    WHEN (OLD.history <> NEW.history AND current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_conversation_history();
