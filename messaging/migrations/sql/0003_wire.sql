-- A message as the wire shows it; absent values are left out. Kept beside `Message` of the protocol's
-- frames: a test compares the two.
CREATE FUNCTION messaging_wire(
    id uuid, seq bigint, "position" bigint, kind text, body text, version integer, created timestamptz,
    device uuid, "user" uuid, client_id text, reply_to uuid, edited timestamptz, deleted timestamptz)
RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT json_strip_nulls(json_build_object(
        'id', id, 'seq', seq, 'position', "position", 'kind', kind, 'body', body, 'version', version,
        'created', (extract(epoch FROM created) * 1000)::bigint, 'device', device, 'user', "user",
        'client_id', client_id, 'reply_to', reply_to,
        'edited', (extract(epoch FROM edited) * 1000)::bigint,
        'deleted', (extract(epoch FROM deleted) * 1000)::bigint))
$$;
