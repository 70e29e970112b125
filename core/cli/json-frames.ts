/** Frames of a file or log stream: JSON objects one after another, however the bytes are cut. */
import type { StreamFrame } from "@drover/plugin-sdk";

/** Longest frame taken; the API's are far smaller. */
const MAX_FRAME = 16 * 1024 * 1024;

export async function* jsonFrames(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<StreamFrame> {
  const decoder = new TextDecoder();
  let text = "";
  let at = 0;
  let depth = 0;
  let inString = false;
  for await (const chunk of bytes) {
    text += decoder.decode(chunk, { stream: true });
    for (; at < text.length; at++) {
      const char = text[at];
      if (inString) {
        if (char === "\\") at++;
        else if (char === '"') inString = false;
      } else if (char === '"') inString = true;
      else if (char === "{") depth++;
      else if (char === "}" && --depth === 0) {
        yield JSON.parse(text.slice(0, at + 1)) as StreamFrame;
        text = text.slice(at + 1);
        at = -1;
      }
    }
    if (text.length > MAX_FRAME) throw new Error(`a frame of the stream is longer than ${MAX_FRAME} bytes`);
  }
  if (text.trim() !== "") throw new Error("the stream ended in the middle of a frame");
}
