// When runs were triggered: a span until now, or two moments.

import { useEffect, useState } from 'preact/hooks';
import type { Filter } from './filter';

const PERIODS = [
  ['', 'All times'],
  ['15m', 'Last 15 minutes'],
  ['1h', 'Last hour'],
  ['24h', 'Last 24 hours'],
  ['7d', 'Last 7 days'],
  ['30d', 'Last 30 days'],
] as const;

interface TimeFilterProps {
  filter: Filter;
  onChange: (changes: Record<string, string | undefined>) => void;
}

export function TimeFilter({ filter, onChange }: TimeFilterProps) {
  const isBetween = Boolean(filter.from || filter.to);
  const [isCustom, setCustom] = useState(isBetween);
  const period = filter.period ?? '';
  const isUsual = PERIODS.some(([value]) => value === period);
  useEffect(() => {
    if (!isBetween) setCustom(false);
  }, [isBetween, period]);
  const choose = (value: string) => {
    setCustom(value === 'between');
    if (value !== 'between') onChange({ period: value, from: undefined, to: undefined });
    else if (period) onChange({ period: undefined, from: beginOf(period) });
  };
  return (
    <span class="time-filter">
      <select
        aria-label="When runs were triggered"
        value={isCustom || isBetween ? 'between' : period}
        onChange={(event) => choose(event.currentTarget.value)}
      >
        {PERIODS.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
        {!isUsual && <option value={period}>Last {period}</option>}
        <option value="between">Between …</option>
      </select>
      {(isCustom || isBetween) && (
        <>
          <Moment label="From" value={filter.from} onChange={(from) => onChange({ from, period: undefined })} />
          <Moment label="To" value={filter.to} onChange={(to) => onChange({ to, period: undefined })} />
        </>
      )}
    </span>
  );
}

/** When a span until now began, such as `7d`. */
function beginOf(period: string): string | undefined {
  const [, number, unit] = /^(\d+)([smhdw])$/.exec(period) ?? [];
  const seconds = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 }[unit ?? ''];
  return seconds === undefined ? undefined : isoOf(new Date(Date.now() - Number(number) * seconds * 1_000));
}

/** Years that no instant of the API has are left out. */
function isoOf(at: Date): string | undefined {
  const year = at.getFullYear();
  return year >= 0 && year <= 9_999 ? at.toISOString() : undefined;
}

function Moment({ label, value, onChange }: { label: string; value: string | undefined; onChange: (value?: string) => void }) {
  const at = value ? new Date(/^\d+$/.test(value) ? Number(value) : value) : undefined;
  const isGood = at !== undefined && !Number.isNaN(at.getTime());
  const local = isGood ? new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16) : '';
  const change = (text: string) => onChange(text ? isoOf(new Date(text)) : undefined);
  return (
    <input
      type="datetime-local"
      aria-label={`${label}, in the time of this computer`}
      value={local}
      onChange={(event) => change(event.currentTarget.value)}
    />
  );
}
