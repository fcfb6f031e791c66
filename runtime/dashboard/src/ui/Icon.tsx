// The few drawings of the page, as lines on a grid of 16. They say nothing by themselves: a word or
// a label is always beside them.

const PATHS = {
  overview: 'M2 9h3l2-5 3 9 2-4h2',
  runs: 'M3 4h10M3 8h10M3 12h6',
  errors: 'M8 2.5 14.5 13.5H1.5zM8 6.5v3.2M8 11.6v.1',
  backtests: 'M2 5h8M7.5 2.5 10 5 7.5 7.5M14 11H6M8.5 8.5 6 11l2.5 2.5',
  bulk: 'M2.5 5.5h8v8h-8zM5.5 5V2.5h8v8H11',
  tasks: 'M5.5 2.5h5l3 3v5l-3 3h-5l-3-3v-5z',
  deployments: 'M8 2 14 5v6l-6 3-6-3V5zM2 5l6 3 6-3M8 8v6',
  queues: 'M2.5 3.5h11v3h-11zM2.5 9.5h11v3h-11z',
  schedules: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2zM8 4.8V8l2.3 1.6',
  batches: 'M2 5l6-3 6 3-6 3zM2 8l6 3 6-3M2 11l6 3 6-3',
  tokens: 'M10.5 2a3.5 3.5 0 1 1-3.2 5L2 12.3V14h2.2v-1.6h1.6v-1.6h1.6l1.3-1.3',
  environments: 'M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.1M5 11h.1',
  variables: 'M6 2.5C3 2.5 5 7 2.5 8 5 9 3 13.5 6 13.5M10 2.5c3 0 1 4.5 3.5 5.5-2.5 1-.5 5.5-3.5 5.5',
  replay: 'M3 8a5 5 0 1 1 1.6 3.7M3 12.5V9h3.4',
  cancel: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2zM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5V2.5h-8v8H5',
  check: 'M3 8.5 6.5 12 13 4.5',
  close: 'M4 4l8 8M12 4l-8 8',
  plus: 'M8 3v10M3 8h10',
  menu: 'M2 4.5h12M2 8h12M2 11.5h12',
  theme: 'M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12',
  keyboard: 'M1.5 4h13v8h-13zM4 6.7h.1M6.6 6.7h.1M9.2 6.7h.1M11.8 6.7h.1M5 9.4h6',
  leave: 'M9.5 2.5h-7v11h7M6.5 8h8M12 5.5 14.5 8 12 10.5',
  right: 'M6 3.5 10.5 8 6 12.5',
  down: 'M3.5 6 8 10.5 12.5 6',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: 'M5 3l8 5-8 5z',
  external: 'M6.5 3h-4v10.5H13v-4M9.5 2.5h4v4M13.5 2.5 7.5 8.5',
  filter: 'M2 3.5h12L9.5 9v4.5l-3-1.7V9z',
  trash: 'M2.5 4.5h11M6 4V2.5h4V4M4 4.5l.7 9h6.6l.7-9M6.7 7v4M9.3 7v4',
  compare: 'M8 1.5v13M6 4H2.5v8H6M10 4h3.5v8H10',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
