/** What `lmdb` calls to turn a value into bytes and back. */
export interface RowEncoder {
  readonly copyBuffers: true;
  encode(value: unknown, mode?: number): Buffer;
  decode(bytes: Uint8Array, options?: unknown): unknown;
}
