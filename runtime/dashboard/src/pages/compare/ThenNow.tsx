// The same facts of the source run and of the replay, side by side.

import type { ComponentChildren } from 'preact';
import { Table, type Column } from '../../ui/Table';

export interface Line {
  name: string;
  then: ComponentChildren;
  now: ComponentChildren;
  /** How many times as much, where that says something. */
  change?: string | undefined;
}

const COLUMNS: Column<Line>[] = [
  { title: 'What', isTitleHidden: true, cell: (line) => <span class="faint">{line.name}</span> },
  { title: 'Then', cell: (line) => line.then },
  { title: 'Now', cell: (line) => line.now },
  { title: 'Change', cell: (line) => line.change && <span class="faint">{line.change}</span> },
];

export function ThenNow({ lines }: { lines: readonly Line[] }) {
  return (
    <div class="then-now">
      <Table label="Then and now" columns={COLUMNS} rows={lines} keyOf={(line) => line.name} />
    </div>
  );
}
