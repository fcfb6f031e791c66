// The calls that a run made of its host: one in full, and those whose time is not on record.

import type { CallItem, TraceSpan } from '../../api/types';
import { bytes, duration, shortId } from '../../core/format';
import { pathIn } from '../../core/session';
import { Dialog } from '../../ui/Dialog';
import { Facts } from '../../ui/Page';
import { Table, type Column } from '../../ui/Table';
import { Time } from '../../ui/Time';
import { callName } from './waterfall';

/** What came of a call, in a few words: `200, 14 B sent, 1.2 KiB received`. */
export function outcomeOf({ http, error, isUnanswered }: CallItem): string {
  if (error !== undefined) return error;
  if (isUnanswered) return 'not answered';
  if (!http) return '';
  return [
    http.status,
    http.requestBytes ? `${bytes(http.requestBytes)} sent` : undefined,
    http.responseBytes === undefined ? undefined : `${bytes(http.responseBytes)} received`,
  ]
    .filter((part) => part !== undefined)
    .join(', ');
}

export function CallDialog({ call, root, onClose }: { call: CallItem; root: TraceSpan; onClose: () => void }) {
  const { http } = call;
  const after = call.at === undefined ? undefined : Date.parse(call.at) - Date.parse(root.data.startTime);
  return (
    <Dialog title={callName(call)} onClose={onClose} wide>
      <div class="stack">
        <Facts
          items={[
            ...(after === undefined
              ? []
              : [
                  [
                    'Began',
                    <span>
                      {duration(after)} after the run was triggered, <Time at={call.at} />
                    </span>,
                  ] as const,
                ]),
            ...(call.durationMs === undefined ? [] : [['Took', duration(call.durationMs)] as const]),
            ['Attempt', call.attempt],
            ...(http ? httpFacts(http) : []),
            ...(call.isUnanswered ? [['Ended', 'not: the run was cut off in it'] as const] : []),
            ...(call.error === undefined ? [] : [['Error', <span class="wrong">{call.error}</span>] as const]),
            ...(call.tokenId ? [['Token', <a href={pathIn('tokens', call.tokenId)}>{call.tokenId}</a>] as const] : []),
            ...(call.runIds && call.runIds.length > 0 ? [['Runs', <Runs ids={call.runIds} />] as const] : []),
          ]}
        />
        {call.arguments && <pre class="panel">{call.arguments}</pre>}
      </div>
    </Dialog>
  );
}

function httpFacts(http: NonNullable<CallItem['http']>) {
  const size = (of: number | undefined) => (of === undefined ? 'not known' : bytes(of));
  return [
    ['Method', <code>{http.method}</code>],
    ['URL', <code>{http.url}</code>],
    ['Host', <code>{http.host}</code>],
    ['Status', http.status ?? 'no response'],
    ['Sent', size(http.requestBytes)],
    ['Received', size(http.responseBytes)],
  ] as const;
}

function Runs({ ids }: { ids: readonly string[] }) {
  return (
    <span class="row">
      {ids.map((id) => (
        <a key={id} href={pathIn('runs', id)} title={id}>
          {shortId(id)}
        </a>
      ))}
    </span>
  );
}

const COLUMNS: Column<CallItem>[] = [
  { title: 'Call', cell: (call) => call.seq, isNumber: true },
  { title: 'Kind', cell: (call) => call.kind },
  { title: 'Target', cell: (call) => <code>{call.target}</code>, isWide: true },
  {
    title: 'Outcome',
    cell: (call) => <span class={call.error === undefined ? 'faint' : 'wrong'}>{outcomeOf(call)}</span>,
  },
];

/** Calls of older recordings, in their order: they cannot be drawn to scale. */
export function CallsWithoutTime({ calls }: { calls: readonly CallItem[] }) {
  if (calls.length === 0) return null;
  return (
    <details class="trace-note">
      <summary>Calls whose time is not on record</summary>
      <Table label="Calls whose time is not on record" columns={COLUMNS} rows={calls} keyOf={(call) => String(call.seq)} />
    </details>
  );
}
