// The statistics of ended runs as the two plots that belong together: how many, and how long.

import type { Series } from '../api/types';
import { counted } from '../core/format';
import { Plot } from './Plot';
import { Section } from './Page';

export function SeriesPlots({ series }: { series: Series }) {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const summary = `${counted(sum(series.completed), 'run')} completed, ${sum(series.failed)} failed, ${sum(series.dropped)} dropped`;
  const place = { from: series.from, stepSeconds: series.stepSeconds };
  return (
    <div class="plots">
      <Section title="Runs that ended">
        <Plot
          label={`Runs that ended, over time: ${summary}`}
          kind="counts"
          {...place}
          lines={[
            { label: 'Failed', colour: '--bad', values: series.failed },
            { label: 'Dropped', colour: '--line-strong', values: series.dropped },
            { label: 'Completed', colour: '--good', values: series.completed },
          ]}
        />
      </Section>
      <Section title="How long they took">
        <Plot
          label="Half of the runs, and 99 of 100 of them, took no longer than this, over time"
          kind="durations"
          {...place}
          lines={[
            { label: 'p50', colour: '--active', values: series.p50Ms },
            { label: 'p99', colour: '--waiting', values: series.p99Ms },
          ]}
        />
      </Section>
    </div>
  );
}

export const PERIODS = [
  ['1h', 'Last hour'],
  ['6h', 'Last 6 hours'],
  ['24h', 'Last 24 hours'],
  ['7d', 'Last 7 days'],
  ['30d', 'Last 30 days'],
  ['90d', 'Last 90 days'],
] as const;

interface PeriodPickerProps {
  value: string;
  onChange: (period: string) => void;
}

export function PeriodPicker({ value, onChange }: PeriodPickerProps) {
  return (
    <select aria-label="Period" value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      {PERIODS.map(([period, label]) => (
        <option key={period} value={period}>
          {label}
        </option>
      ))}
    </select>
  );
}
