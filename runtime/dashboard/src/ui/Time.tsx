// The one way to show a moment: how long ago, with the exact time on hover; and how long something
// took, or has taken so far.

import { now } from '../core/clock';
import { duration, moment, relative } from '../core/format';

export function Time({ at }: { at: string | undefined }) {
  if (!at) return <span class="faint none">–</span>;
  const ms = Date.parse(at);
  return (
    <time dateTime={at} title={`${moment(ms)}\n${at}`}>
      {relative(ms, now.value)}
    </time>
  );
}

/** From one moment to another, or until now. */
export function Elapsed({ from, to }: { from: string | undefined; to?: string | undefined }) {
  if (!from) return <span class="faint none">–</span>;
  const end = to ? Date.parse(to) : now.value;
  return <span class="number">{duration(end - Date.parse(from))}</span>;
}
