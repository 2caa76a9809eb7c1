-- The functions find our tables whatever search_path the writing session has.
DO $do$
DECLARE
    fn regprocedure;
BEGIN
    FOR fn IN SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
        AND proname LIKE 'messaging\_%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path FROM CURRENT', fn);
    END LOOP;
END
$do$;
