-- A message as the wire shows it, as JSON text; absent values are left out. A test compares it with
-- `Message` of the protocol's frames. Written out by hand because json_build_object with
-- json_strip_nulls costs five times as much, and every page of every catching-up device is made of it.
CREATE FUNCTION messaging_wire(
    id uuid, seq bigint, "position" bigint, kind text, body text, version integer, created timestamptz,
    device uuid, "user" uuid, client_id text, reply_to uuid, edited timestamptz, deleted timestamptz)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT concat('{"id":"', id, '","seq":', seq, ',"position":', "position", ',"kind":"', kind,
        '","body":', to_json(body), ',"version":', version,
        ',"created":', (extract(epoch FROM created) * 1000)::bigint,
        ',"device":"' || device || '"', ',"user":"' || "user" || '"', ',"client_id":' || to_json(client_id),
        ',"reply_to":"' || reply_to || '"', ',"edited":' || (extract(epoch FROM edited) * 1000)::bigint,
        ',"deleted":' || (extract(epoch FROM deleted) * 1000)::bigint, '}')
$$;
