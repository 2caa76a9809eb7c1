-- Users: being deactivated or activated again reaches the user's inbox, as a revoked device does.

CREATE FUNCTION messaging_user_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_device_record(ARRAY(
        SELECT n.id FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE n.is_active <> o.is_active));
    RETURN NULL;
END
$$;
ALTER FUNCTION messaging_user_updated SET search_path FROM CURRENT;

CREATE TRIGGER lockstep_updated AFTER UPDATE ON presence_user
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION messaging_user_updated();
