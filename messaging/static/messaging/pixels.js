/**
 * How many pixels an image has, by its first bytes: a few kilobytes may be a picture that takes gigabytes to decode.
 *
 * Sources: PNG, section 11.2.2 (IHDR); GIF89a, sections 18 and 20; ITU-T T.81, B.2.2 (SOF); RFC 9649, sections 2.5 to 2.7 (WebP).
 */

const READERS = { "image/png": png, "image/gif": gif, "image/jpeg": jpeg, "image/webp": webp };

/** Width times height of an image of this type; Infinity if its bytes do not tell. */
export function pixels(buffer, type) {
  try {
    return READERS[type](new DataView(buffer)) ?? Infinity;
  } catch {
    return Infinity; // it ends before it tells, or is of another type
  }
}

function png(view) {
  return view.getUint32(16) * view.getUint32(20);
}

/** A frame may be larger than the screen that is announced. */
function gif(view) {
  const size = (at) => view.getUint16(at, true) * view.getUint16(at + 2, true);
  const flags = view.getUint8(10);
  let at = 13 + (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  while (view.getUint8(at) === 0x21) {
    for (at += 2; view.getUint8(at); at += view.getUint8(at) + 1);
    at += 1;
  }
  return view.getUint8(at) === 0x2c ? Math.max(size(6), size(at + 5)) : undefined;
}

function jpeg(view) {
  for (let at = 2; view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint8(at + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return view.getUint16(at + 5) * view.getUint16(at + 7);
  }
}

function webp(view) {
  const kind = view.getUint32(12);
  const three = (at) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16) + 1;
  if (kind === 0x56503858) return three(24) * three(27); // VP8X
  const bits = view.getUint32(21, true);
  if (kind === 0x5650384c) return ((bits & 0x3fff) + 1) * (((bits >> 14) & 0x3fff) + 1); // VP8L
  if (kind === 0x56503820) return (view.getUint16(26, true) & 0x3fff) * (view.getUint16(28, true) & 0x3fff); // VP8
}
