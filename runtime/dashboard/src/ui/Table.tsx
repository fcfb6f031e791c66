// The one table. A row may lead somewhere (its first cell is the link, the whole row is the target)
// and may be picked; `j`, `k`, `Enter` and `x` work where `keyboard` names the group of shortcuts.
// Narrow screens show each row as a card.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { address, navigate } from '../core/router';
import { useShortcuts } from '../core/shortcuts';
import type { Selection } from './selection';

export interface Column<T> {
  title: string;
  /** Read out, not shown: of buttons, and where the rows say enough. */
  isTitleHidden?: boolean;
  cell: (row: T) => ComponentChildren;
  /** Figures, at the right. */
  isNumber?: boolean;
  /** Said before the value in a card, where the value does not say what it is. */
  isNamed?: boolean;
  /** Takes the room that is left, and cuts what is longer. */
  isWide?: boolean;
}

interface TableProps<T> {
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string;
  linkOf?: (row: T) => string;
  /** What a row is called where only its box is read out. */
  nameOf?: (row: T) => string;
  selection?: Selection;
  /** Rows that are only still there for the reader's sake. */
  isFaded?: (row: T) => boolean;
  keyboard?: string;
  /** Told which row the keyboard is at. */
  onFocusRow?: (row: T | undefined) => void;
}

/** The row that was opened or reached last, by address and table: where the reader goes on after coming back. */
const lastRows = new Map<string, string>();
const nameOfPlace = (label: string) => `${address.peek()} ${label}`;

export function Table<T>(props: TableProps<T>) {
  const { columns, rows, keyOf, linkOf, selection, label } = props;
  return (
    <div class="table-frame">
      {props.keyboard && <Keys {...props} keyboard={props.keyboard} />}
      <table aria-label={label}>
        <thead>
          <tr>
            {selection && <SelectAll selection={selection} keys={rows.map(keyOf)} />}
            {columns.map((column) => (
              <th key={column.title} scope="col" class={classOf(column)}>
                {column.isTitleHidden ? <span class="visually-hidden">{column.title}</span> : column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const key = keyOf(row);
            const isPicked = selection?.has(key) ?? false;
            const looks = [isPicked && 'picked', props.isFaded?.(row) && 'faded'].filter(Boolean).join(' ');
            return (
              <tr key={key} data-key={key} class={looks || undefined}>
                {selection && (
                  <td class="pick">
                    <input
                      type="checkbox"
                      checked={isPicked}
                      aria-label={`Select ${props.nameOf?.(row) ?? key}`}
                      onClick={(event) => selection.pick(key, event.shiftKey)}
                    />
                  </td>
                )}
                {columns.map((column, place) => (
                  <td key={column.title} data-title={column.title} class={classOf(column)}>
                    {place === 0 && linkOf ? (
                      <a class="row-link" href={linkOf(row)} onClick={() => lastRows.set(nameOfPlace(label), key)}>
                        {column.cell(row)}
                      </a>
                    ) : (
                      column.cell(row)
                    )}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function classOf<T>({ isNumber, isNamed, isWide }: Column<T>): string | undefined {
  return [isNumber && 'number', isNamed && 'named', isWide && 'wide'].filter(Boolean).join(' ') || undefined;
}

function SelectAll({ selection, keys }: { selection: Selection; keys: string[] }) {
  const picked = keys.filter((key) => selection.has(key)).length;
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (box.current) box.current.indeterminate = picked > 0 && picked < keys.length;
  }, [picked, keys.length]);
  return (
    <th scope="col" class="pick">
      <input
        ref={box}
        type="checkbox"
        checked={picked > 0 && picked === keys.length}
        aria-label="Select all on this page"
        onClick={() => (picked === keys.length ? selection.clear() : selection.set(keys))}
      />
    </th>
  );
}

/** The keyboard's place in the table: kept by key, so that it stays with its row when rows come. */
function Keys<T>({ label, rows, keyOf, linkOf, selection, keyboard, onFocusRow }: TableProps<T> & { keyboard: string }) {
  const [at, setAt] = useState(() => lastRows.get(nameOfPlace(label)));
  const anchor = useRef<HTMLSpanElement>(null);
  const keys = rows.map(keyOf);
  const place = at === undefined ? -1 : keys.indexOf(at);
  const row = rows[place];
  useEffect(() => {
    const table = anchor.current?.parentElement;
    table?.querySelector('tr.at')?.classList.remove('at');
    const element = at === undefined ? null : table?.querySelector(`tr[data-key="${CSS.escape(at)}"]`);
    element?.classList.add('at');
  });
  useEffect(() => {
    anchor.current?.parentElement?.querySelector('tr.at')?.scrollIntoView({ block: 'nearest' });
  }, [at]);
  const isGone = at !== undefined && place < 0;
  useEffect(() => {
    if (at !== undefined) onFocusRow?.(isGone ? undefined : row);
  }, [isGone]);
  const go = (to: number) => {
    const next = Math.max(0, Math.min(to, keys.length - 1));
    const key = keys[next];
    if (key === undefined) return;
    setAt(key);
    lastRows.set(nameOfPlace(label), key);
    // The focus goes along, so that the row is read out.
    const element = anchor.current?.parentElement?.querySelector(`tr[data-key="${CSS.escape(key)}"]`);
    element?.querySelector<HTMLElement>('.row-link')?.focus({ preventScroll: true });
    // At once, so that the next key finds the row, however fast it follows.
    onFocusRow?.(rows[next]);
  };
  const open = () => {
    if (row && linkOf) navigate(linkOf(row));
  };
  useShortcuts(keyboard, {
    j: ['Next row', () => go(place + 1)],
    k: ['Previous row', () => go(place < 0 ? 0 : place - 1)],
    ArrowDown: ['Next row', () => go(place + 1)],
    ArrowUp: ['Previous row', () => go(place < 0 ? 0 : place - 1)],
    ...(linkOf ? { Enter: ['Open the row', open] as [string, () => void] } : {}),
    ...(selection
      ? {
          x: ['Select the row', () => at !== undefined && selection.pick(at, false)] as [string, () => void],
          'shift+x': ['Select from the last one to here', () => at !== undefined && selection.pick(at, true)] as [
            string,
            () => void,
          ],
        }
      : {}),
  });
  return <span ref={anchor} hidden />;
}
