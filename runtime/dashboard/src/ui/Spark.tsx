// Small plots in a row of a table: runs that ended, failed ones in red; and how long they took. Asked
// for when they are seen.

import { useEffect, useRef, useState } from 'preact/hooks';
import { get } from '../api/client';
import { counted, duration } from '../core/format';
import { useQuery } from '../core/query';
import { environment } from '../core/session';

const WIDTH = 96;
const HEIGHT = 18;

export function TaskSparks({ task, period }: { task: string; period: string }) {
  const frame = useRef<HTMLSpanElement>(null);
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    const watch = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) setSeen(true);
    });
    if (frame.current) watch.observe(frame.current);
    return () => watch.disconnect();
  }, []);
  const found = useQuery(isSeen ? `${environment.value?.slug}/statistics/${task}/${period}` : undefined, (signal) =>
    get('/api/v1/tasks/{task}/statistics', { path: { task }, query: { period }, signal }),
  );
  const series = found.data?.series;
  return (
    <span ref={frame} class="sparks">
      {series && <Bars good={series.completed} bad={series.failed} />}
      {series && <Lines low={series.p50Ms} high={series.p99Ms} />}
    </span>
  );
}

function Bars({ good, bad }: { good: readonly number[]; bad: readonly number[] }) {
  const total = good.map((value, place) => value + (bad[place] ?? 0));
  const most = Math.max(1, ...total);
  const step = WIDTH / Math.max(1, total.length);
  const sum = (values: readonly number[]) => values.reduce((before, value) => before + value, 0);
  const label = `${counted(sum(total), 'run')}, ${sum(bad)} failed`;
  return (
    <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
      <title>{label}</title>
      {total.map((value, place) => {
        if (value === 0) return null;
        const height = Math.max(1.5, (value / most) * HEIGHT);
        const red = ((bad[place] ?? 0) / value) * height;
        const at = { x: place * step, width: Math.max(0.8, step * 0.8) };
        return (
          <g key={place}>
            <rect {...at} y={HEIGHT - height} height={height - red} class="spark-good" />
            <rect {...at} y={HEIGHT - red} height={red} class="spark-bad" />
          </g>
        );
      })}
    </svg>
  );
}

type Values = readonly (number | null)[];

/** Two durations over time, from the lower to the higher: intervals in which nothing ended have none. */
function Lines({ low, high }: { low: Values; high: Values }) {
  const known = high.filter((value) => value !== null);
  const most = Math.max(1, ...known);
  const step = WIDTH / Math.max(1, high.length);
  const y = (value: number) => HEIGHT - 1 - (value / most) * (HEIGHT - 3);
  const label = known.length > 0 ? `p99 at most ${duration(Math.max(...known))}` : 'No durations';
  return (
    <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
      <title>{label}</title>
      {high.map((value, place) => {
        const from = low[place] ?? value;
        if (value === null || from === null) return null;
        const at = { x: place * step, width: Math.max(1.5, step * 0.8) };
        return (
          <g key={place}>
            <rect {...at} y={y(value)} height={Math.max(1.5, y(from) - y(value))} class="spark-range" />
            <rect {...at} y={y(from) - 0.7} height={1.5} class="spark-p50" />
          </g>
        );
      })}
    </svg>
  );
}
