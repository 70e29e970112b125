/** Columns of small whole numbers, as narrow as their largest value allows; one that never changes is that number. */

export type PackedColumn = number | readonly [width: 1 | 2 | 4, bytes: Uint8Array];

export type NumberArray = Uint8Array | Uint16Array | Uint32Array;

export function packColumn(values: readonly number[]): PackedColumn {
  const first = values[0] ?? 0;
  let largest = first;
  let constant = true;
  for (const value of values) {
    if (value !== first) constant = false;
    if (value > largest) largest = value;
  }
  if (constant) return first;
  const column =
    largest < 0x100
      ? Uint8Array.from(values)
      : largest < 0x1_0000
        ? Uint16Array.from(values)
        : Uint32Array.from(values);
  return [column.BYTES_PER_ELEMENT as 1 | 2 | 4, new Uint8Array(column.buffer)];
}

/** The values again. Throws for a column of another length. */
export function unpackColumn(column: PackedColumn, length: number): NumberArray {
  if (typeof column === "number") return new Uint32Array(length).fill(column);
  const [width, bytes] = column;
  if (bytes.length !== width * length)
    throw new Error(`a column of ${length} numbers of ${width} bytes has ${bytes.length} bytes`);
  // Copied, because the bytes of a message begin anywhere and these arrays must not.
  const { buffer } = Uint8Array.from(bytes);
  if (width === 1) return new Uint8Array(buffer);
  return width === 2 ? new Uint16Array(buffer) : new Uint32Array(buffer);
}
