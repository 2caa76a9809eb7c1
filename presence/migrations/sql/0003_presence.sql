-- Presence that is written outside the roster wakes the hubs, as messages do: a hint names the user,
-- `*` stands for many. What is so now is read from the tables, so nothing else is done here.

CREATE FUNCTION presence_announce(users uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text[] := ARRAY(SELECT DISTINCT 'presence.' || id FROM unnest(users) AS id WHERE id IS NOT NULL);
BEGIN
    IF cardinality(names) > 100 THEN
        names := ARRAY['*'];
    END IF;
    PERFORM pg_notify('lockstep', name) FROM unnest(names) AS name;
END
$$;

CREATE FUNCTION presence_connection_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM presence_announce(ARRAY(
        SELECT d.user_id FROM presence_device d WHERE d.id IN (SELECT device_id FROM new_rows)));
    RETURN NULL;
END
$$;

CREATE FUNCTION presence_connection_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM presence_announce(ARRAY(
        SELECT d.user_id FROM presence_device d
        WHERE d.id IN (SELECT device_id FROM new_rows UNION SELECT device_id FROM old_rows)));
    RETURN NULL;
END
$$;

CREATE FUNCTION presence_connection_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM presence_announce(ARRAY(
        SELECT d.user_id FROM presence_device d WHERE d.id IN (SELECT device_id FROM old_rows)));
    RETURN NULL;
END
$$;

CREATE FUNCTION presence_status_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM presence_announce(ARRAY(SELECT user_id FROM new_rows));
    RETURN NULL;
END
$$;

CREATE FUNCTION presence_status_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM presence_announce(ARRAY(SELECT user_id FROM new_rows UNION SELECT user_id FROM old_rows));
    RETURN NULL;
END
$$;

CREATE FUNCTION presence_status_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM presence_announce(ARRAY(SELECT user_id FROM old_rows));
    RETURN NULL;
END
$$;

-- Whose sessions a process holds is not looked up: it is all of them, and nobody does this often.
CREATE FUNCTION presence_changed_for_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('lockstep', '*');
    RETURN NULL;
END
$$;

CREATE FUNCTION presence_status_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER lockstep_update BEFORE UPDATE ON presence_status FOR EACH ROW
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_status_touch();

CREATE TRIGGER lockstep_inserted AFTER INSERT ON presence_connection
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_connection_inserted();
CREATE TRIGGER lockstep_updated AFTER UPDATE ON presence_connection
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_connection_updated();
CREATE TRIGGER lockstep_deleted AFTER DELETE ON presence_connection
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_connection_deleted();

CREATE TRIGGER lockstep_inserted AFTER INSERT ON presence_status
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_status_inserted();
CREATE TRIGGER lockstep_updated AFTER UPDATE ON presence_status
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_status_updated();
CREATE TRIGGER lockstep_deleted AFTER DELETE ON presence_status
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_status_deleted();

CREATE TRIGGER lockstep_changed AFTER UPDATE OR DELETE OR TRUNCATE ON presence_node FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_changed_for_all();
CREATE TRIGGER lockstep_truncated AFTER TRUNCATE ON presence_connection FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_changed_for_all();
CREATE TRIGGER lockstep_truncated AFTER TRUNCATE ON presence_status FOR EACH STATEMENT
    WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal')
    EXECUTE FUNCTION presence_changed_for_all();

-- The functions find our tables whatever search_path the writing session has.
DO $do$
DECLARE
    fn regprocedure;
BEGIN
    FOR fn IN SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
        AND proname LIKE 'presence\_%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path FROM CURRENT', fn);
    END LOOP;
END
$do$;
