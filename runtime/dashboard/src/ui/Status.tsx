// Where a run is, as a word with a shape: nobody needs to see colours to tell them apart.

import type { RunStatus } from '../api/types';

type Tone = 'good' | 'bad' | 'active' | 'waiting' | 'idle';

interface Look {
  word: string;
  tone: Tone;
  /** Lines on a grid of 12, drawn in the tone. */
  shape: string;
}

const RING = 'M6 1.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 0 1 0-9z';

const LOOKS: Record<RunStatus, Look> = {
  PENDING_VERSION: { word: 'Pending version', tone: 'waiting', shape: `${RING}M6 3.6v3M6 8.3v.1` },
  DELAYED: { word: 'Delayed', tone: 'idle', shape: `${RING}M6 3.5V6l1.8 1.2` },
  QUEUED: { word: 'Queued', tone: 'idle', shape: 'M2 3.2h8M2 6h8M2 8.8h8' },
  DEQUEUED: { word: 'Dequeued', tone: 'active', shape: 'M4 2.5 9 6 4 9.5z' },
  EXECUTING: { word: 'Executing', tone: 'active', shape: 'M4 2.5 9 6 4 9.5z' },
  WAITING: { word: 'Waiting', tone: 'waiting', shape: 'M4.2 2.5v7M7.8 2.5v7' },
  COMPLETED: { word: 'Completed', tone: 'good', shape: 'M2.2 6.4 4.8 9 9.8 3.2' },
  FAILED: { word: 'Failed', tone: 'bad', shape: 'M2.8 2.8l6.4 6.4M9.2 2.8 2.8 9.2' },
  CRASHED: { word: 'Crashed', tone: 'bad', shape: 'M7 1.2 3 6.6h3L5 10.8 9 5.4H6z' },
  TIMED_OUT: { word: 'Timed out', tone: 'bad', shape: 'M3 1.8h6L3 10.2h6z' },
  CANCELED: { word: 'Canceled', tone: 'idle', shape: `${RING}M2.9 2.9l6.2 6.2` },
  EXPIRED: { word: 'Expired', tone: 'bad', shape: `${RING}M6 3.5V6M6 8.2v.1` },
  SYSTEM_FAILURE: { word: 'System failure', tone: 'bad', shape: 'M6 1.5 11 10.5H1zM6 4.8v2.6M6 8.9v.1' },
};

export const STATUSES = Object.keys(LOOKS).filter((status) => status !== 'DEQUEUED') as RunStatus[];

export function statusWord(status: RunStatus): string {
  return LOOKS[status].word;
}

export function statusTone(status: RunStatus): Tone {
  return LOOKS[status].tone;
}

export function Status({ of }: { of: RunStatus }) {
  const look = LOOKS[of];
  return <Badge tone={look.tone} shape={look.shape} word={look.word} />;
}

/** The same look for other things that have a state: queues, schedules, backtests. */
export function Badge({ tone, word, shape }: { tone: Tone; word: string; shape?: string }) {
  return (
    <span class={`badge tone-${tone}`}>
      {shape && (
        <svg viewBox="0 0 12 12" aria-hidden="true">
          <path d={shape} />
        </svg>
      )}
      {word}
    </span>
  );
}

/** Shapes for those. */
export const SHAPES = {
  on: LOOKS.EXECUTING.shape,
  paused: LOOKS.WAITING.shape,
  done: LOOKS.COMPLETED.shape,
  failed: LOOKS.FAILED.shape,
  stopped: LOOKS.CANCELED.shape,
  late: LOOKS.DELAYED.shape,
} as const;
