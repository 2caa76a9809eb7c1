/** Sizes for people. */

/** "9 kB"; one digit behind the point at most. */
export function bytes(size) {
  const [unit, scale] = size < 1e3 ? ["byte", 1] : size < 1e6 ? ["kilobyte", 1e3] : ["megabyte", 1e6];
  const unitDisplay = unit === "byte" ? "long" : "short"; // "7 bytes"
  return new Intl.NumberFormat(undefined, { style: "unit", unit, unitDisplay, maximumFractionDigits: 1 }).format(size / scale);
}
