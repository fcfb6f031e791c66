// The one view of JSON: a tree that opens and closes, long texts and lists cut until asked for.
// Everything is text: nothing in it can become markup or a link.

import { useState } from 'preact/hooks';
import { formatJson, rawNumber } from '../api/exact';
import { counted } from '../core/format';
import { Copy } from './Copy';

/** Items of a list, and characters of a text, that are shown before "more". */
const MAX_ITEMS = 100;
const MAX_CHARS = 600;
/** Levels that are open at first, as long as they are not long. */
const OPEN_LEVELS = 3;
const OPEN_ITEMS = 30;

export function Json({ value, label }: { value: unknown; label: string }) {
  return (
    <div class="json" role="group" aria-label={label}>
      <Copy text={() => formatJson(value)} label={label} />
      <Node value={value} level={0} />
    </div>
  );
}

function Node({ value, level }: { value: unknown; level: number }) {
  const exact = rawNumber(value);
  if (exact !== undefined) return <span class="json-number">{exact}</span>;
  if (typeof value === 'string') return <Text text={value} />;
  if (typeof value === 'number') return <span class="json-number">{String(value)}</span>;
  if (value === null || value === undefined || typeof value === 'boolean') {
    return <span class="json-word">{String(value ?? null)}</span>;
  }
  return <Branch value={value} level={level} />;
}

function Text({ text }: { text: string }) {
  const [isWhole, setWhole] = useState(false);
  const isCut = text.length > MAX_CHARS && !isWhole;
  return (
    <span class="json-text">
      {JSON.stringify(isCut ? text.slice(0, MAX_CHARS) : text)}
      {isCut && (
        <button type="button" class="more" onClick={() => setWhole(true)}>
          … all {counted(text.length, 'character')}
        </button>
      )}
    </span>
  );
}

function Branch({ value, level }: { value: object; level: number }) {
  const isList = Array.isArray(value);
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  const [isOpen, setOpen] = useState(level < OPEN_LEVELS && entries.length <= OPEN_ITEMS);
  const [shown, setShown] = useState(MAX_ITEMS);
  const [left, right] = isList ? ['[', ']'] : ['{', '}'];
  if (entries.length === 0) return <span>{left + right}</span>;
  if (!isOpen) {
    return (
      <button type="button" class="fold" aria-expanded={false} onClick={() => setOpen(true)}>
        {left} {isList ? counted(entries.length, 'item') : counted(entries.length, 'key')} {right}
      </button>
    );
  }
  return (
    <>
      <button type="button" class="fold" aria-expanded={true} aria-label="Fold" onClick={() => setOpen(false)}>
        {left}
      </button>
      <ul>
        {entries.slice(0, shown).map(([key, item]) => (
          <li key={key}>
            {!isList && <span class="json-key">{JSON.stringify(key)}</span>}
            {!isList && ': '}
            <Node value={item} level={level + 1} />
          </li>
        ))}
        {entries.length > shown && (
          <li>
            <button type="button" class="more" onClick={() => setShown(shown + MAX_ITEMS * 5)}>
              … {counted(entries.length - shown, 'more', 'more')}
            </button>
          </li>
        )}
      </ul>
      {right}
    </>
  );
}
