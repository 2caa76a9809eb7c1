-- lockstep_uuid(): a UUID of version 7. PostgreSQL 18 has one built in; older servers get the same
-- layout: 48 bits of milliseconds, 12 bits of the fraction of the millisecond, 62 random bits.
-- The fraction keeps rows that one session makes after each other in order.
DO $do$
BEGIN
    IF to_regprocedure('pg_catalog.uuidv7()') IS NOT NULL THEN
        CREATE FUNCTION lockstep_uuid() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
            AS 'SELECT pg_catalog.uuidv7()';
    ELSE
        CREATE FUNCTION lockstep_uuid() RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL SAFE
        AS $fn$
        DECLARE
            micros bigint := extract(epoch FROM clock_timestamp()) * 1000000;
            head bigint := (micros / 1000 << 16) | (7 << 12) | ((micros % 1000) * 4096 / 1000);
        BEGIN
            -- The second half comes from a version 4 UUID: its variant bits are the right ones.
            RETURN encode(int8send(head) || substring(uuid_send(gen_random_uuid()) FROM 9), 'hex')::uuid;
        END
        $fn$;
    END IF;
END
$do$;
