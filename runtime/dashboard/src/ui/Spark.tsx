// A small plot in a row of a table: runs that ended, failed ones in red. Asked for when it is seen.

import { useEffect, useRef, useState } from 'preact/hooks';
import { get } from '../api/client';
import { counted } from '../core/format';
import { useQuery } from '../core/query';
import { environment } from '../core/session';

const WIDTH = 96;
const HEIGHT = 18;

export function TaskSpark({ task, period }: { task: string; period: string }) {
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
  const { completed, failed } = found.data?.series ?? { completed: [], failed: [] };
  return (
    <span ref={frame} class="spark">
      {completed.length > 0 && <Bars good={completed} bad={failed} />}
    </span>
  );
}

function Bars({ good, bad }: { good: readonly number[]; bad: readonly number[] }) {
  const total = good.map((value, place) => value + (bad[place] ?? 0));
  const most = Math.max(1, ...total);
  const step = WIDTH / total.length;
  const sum = (values: readonly number[]) => values.reduce((before, value) => before + value, 0);
  return (
    <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${counted(sum(total), 'run')}, ${sum(bad)} failed`}>
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
