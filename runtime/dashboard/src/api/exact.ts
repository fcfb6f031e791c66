// JSON without loss: whole numbers that JavaScript cannot hold keep their text from the wire to the
// screen and back. Everything that reads or writes JSON here goes through this file.

/** A number that is kept as its text. Made by `JSON.rawJSON` where the browser has it. */
interface RawJson {
  readonly rawJSON: string;
}

interface RawSupport {
  rawJSON?: (text: string) => RawJson;
  isRawJSON?: (value: unknown) => boolean;
}

const support = JSON as unknown as RawSupport;

/** Reads JSON text. Throws `SyntaxError` as `JSON.parse` does. */
export function parseJson(text: string): unknown {
  const rawJson = support.rawJSON;
  if (!rawJson || !/\d{16}/.test(text)) return JSON.parse(text);
  const reviver = (_: string, value: unknown, context?: { source?: string }): unknown => {
    const source = context?.source;
    const isLost = typeof value === 'number' && source !== undefined && /^-?\d+$/.test(source);
    return isLost && !Number.isSafeInteger(value) ? rawJson(source) : value;
  };
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown);
}

/** Writes JSON text, indented by two spaces unless `indent` says otherwise. */
export function formatJson(value: unknown, indent = 2): string {
  return JSON.stringify(value, null, indent) ?? 'null';
}

/** The text of a number that was kept as its text. */
export function rawNumber(value: unknown): string | undefined {
  return support.isRawJSON?.(value) ? (value as RawJson).rawJSON : undefined;
}
