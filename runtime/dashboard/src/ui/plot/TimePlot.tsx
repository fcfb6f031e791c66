// Values over time: stacked bars for counts, lines for durations. What is under the pointer is
// written below the plot; for those who do not see it, the label says what it comes to.

import { useEffect, useRef } from 'preact/hooks';
import uPlot, { type AlignedData, type Options, type Series } from 'uplot';
import { count, duration } from '../../core/format';
import { isDark } from '../../core/theme';
import 'uplot/dist/uPlot.min.css';
import '../../styles/plot.css';

interface PlotLine {
  label: string;
  /** A custom property such as `--good`. */
  colour: string;
  values: readonly (number | null)[];
}

export interface TimePlotProps {
  label: string;
  /** ISO 8601. */
  from: string;
  stepSeconds: number;
  kind: 'counts' | 'durations';
  /** Of counts: drawn on top of one another, the first at the bottom. */
  lines: readonly PlotLine[];
}

const HEIGHT_PX = 150;

export function TimePlot(props: TimePlotProps) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const data = JSON.stringify([props.from, props.stepSeconds, props.lines]);
  const look = isDark.value;
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const made = new uPlot(optionsOf(latest, element), dataOf(props), element);
    plot.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT_PX }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
    };
  }, [props.kind, look, props.lines.map((line) => line.label).join()]);
  useEffect(() => plot.current?.setData(dataOf(props)), [data]);
  return <div class="plot" ref={frame} role="img" aria-label={props.label} />;
}

/** From the beginning of the first interval to the end of the last, in seconds. */
function timesOf({ from, stepSeconds, lines }: TimePlotProps): [number, number] {
  const begin = Date.parse(from) / 1e3;
  return [begin, begin + (lines[0]?.values.length ?? 1) * stepSeconds];
}

/** Counts are summed up from the first line to the last, and drawn from the last to the first. */
function dataOf({ from, stepSeconds, kind, lines }: TimePlotProps): AlignedData {
  const begin = Date.parse(from) / 1e3;
  const length = lines[0]?.values.length ?? 0;
  // Bars begin where their interval does; the points of a line are in the middle of it.
  const first = kind === 'counts' ? begin : begin + stepSeconds / 2;
  const times = Array.from({ length }, (_, place) => first + place * stepSeconds);
  if (kind === 'durations') return [times, ...lines.map((line) => [...line.values])];
  const sums = new Array<number>(length).fill(0);
  const stacked = lines.map((line) =>
    line.values.map((value, place) => {
      const sum = (sums[place] ?? 0) + (value ?? 0);
      sums[place] = sum;
      return sum;
    }),
  );
  return [times, ...stacked.reverse()];
}

/** `latest` has what is shown now: the plot outlives the values that it was made with. */
function optionsOf(latest: { current: TimePlotProps }, element: HTMLElement): Options {
  const props = latest.current;
  const colour = (name: string) => colourOf(name, element);
  const isCounts = props.kind === 'counts';
  const written = (value: number) => (isCounts ? count(value) : duration(value));
  const lines = isCounts ? [...props.lines].reverse() : props.lines;
  const original = (label: string, place: number | null) =>
    place === null ? null : (latest.current.lines.find((line) => line.label === label)?.values[place] ?? null);
  const series = lines.map((line): Series => {
    const shown = colour(line.colour);
    const bars = uPlot.paths.bars?.({ size: [0.8, 24], align: 1 });
    return {
      label: line.label,
      stroke: shown,
      width: isCounts ? 0 : 1.5,
      points: { show: !isCounts, size: 5, fill: shown },
      value: (_, __, ___, place) => {
        const value = original(line.label, place);
        return value === null ? '' : written(value);
      },
      ...(isCounts ? { fill: shown, ...(bars ? { paths: bars } : {}) } : { spanGaps: false }),
    };
  });
  const axis = {
    stroke: colour('--faint'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
    font: '11px system-ui',
  };
  return {
    width: element.clientWidth,
    height: HEIGHT_PX,
    cursor: { y: false, points: { show: !isCounts } },
    scales: {
      x: { range: () => timesOf(latest.current) },
      y: { range: (_, __, max) => [0, Math.max(max, isCounts ? 4 : 1) * 1.08] },
    },
    axes: [
      { ...axis, size: 28, values: (_, values) => values.map(tick) },
      { ...axis, size: 58, values: (_, values) => values.map((value) => (isCounts && value % 1 !== 0 ? '' : written(value))) },
    ],
    series: [{ label: 'Time', value: (_, __, ___, place) => (place === null ? '' : interval(latest.current, place)) }, ...series],
  };
}

const hour = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });

/** Hours; midnights are days. */
function tick(seconds: number): string {
  const at = new Date(seconds * 1e3);
  return at.getHours() + at.getMinutes() === 0 ? day.format(at) : hour.format(at);
}

/** `Nov 22, 05:00 to 06:00` */
function interval({ from, stepSeconds }: TimePlotProps, place: number): string {
  const begin = Date.parse(from) + place * stepSeconds * 1e3;
  return `${day.format(begin)}, ${hour.format(begin)} to ${hour.format(begin + stepSeconds * 1e3)}`;
}

/** A custom property as a colour that a canvas understands. */
function colourOf(name: string, element: HTMLElement): string {
  const probe = document.createElement('i');
  probe.style.color = `var(${name})`;
  element.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
