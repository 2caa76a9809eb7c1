-- As in 0002, and whatever temporary tables the writing session has: they come first in a path that does not name
-- them, so that a session's own messaging_message would get the numbers that are ours.
DO $do$
DECLARE
    fn regprocedure;
BEGIN
    FOR fn IN SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
        AND (proname LIKE 'messaging\_%' OR proname LIKE 'presence\_%')
        AND (prorettype = 'trigger'::regtype OR array_to_string(proconfig, ' ') LIKE 'search_path=%')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', fn, current_schema());
    END LOOP;
END
$do$;
