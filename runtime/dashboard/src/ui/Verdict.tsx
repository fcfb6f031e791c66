// What came of a replay beside its source run: the verdicts of the API as words with shapes.

import { count } from '../core/format';
import { Badge, SHAPES } from './Status';

type Tone = 'good' | 'bad' | 'active' | 'waiting' | 'idle';

const LOOKS: Record<string, { word: string; tone: Tone; shape: string; text: string }> = {
  same: { word: 'Same', tone: 'good', shape: SHAPES.done, text: 'It ended as then, with the same output and the same calls.' },
  fixed: { word: 'Fixed', tone: 'active', shape: SHAPES.done, text: 'It failed then and completes now.' },
  'output-changed': {
    word: 'Output changed',
    tone: 'waiting',
    shape: 'M2 4h8M2 8h8M8 2 4 10',
    text: 'It completes with another output.',
  },
  'effects-changed': {
    word: 'Effects changed',
    tone: 'waiting',
    shape: 'M2 6h7M6 3l3 3-3 3',
    text: 'It makes other calls than then.',
  },
  'newly-failing': { word: 'Newly failing', tone: 'bad', shape: SHAPES.failed, text: 'It completed then and fails now.' },
  'over-budget': { word: 'Over budget', tone: 'bad', shape: SHAPES.late, text: 'It uses more than the rules allow.' },
  'payload-rejected': {
    word: 'Payload rejected',
    tone: 'bad',
    shape: SHAPES.stopped,
    text: 'The version’s schema does not take the payload.',
  },
  'not-replayable': {
    word: 'Not replayable',
    tone: 'idle',
    shape: SHAPES.stopped,
    text: 'There is nothing to compare with: no recording, or one that cannot be used.',
  },
};

const VERDICTS = Object.keys(LOOKS);

const look = (verdict: string) => LOOKS[verdict] ?? { word: verdict, tone: 'idle' as const, shape: SHAPES.late, text: '' };

export function verdictWord(verdict: string): string {
  return look(verdict).word;
}

export function verdictText(verdict: string): string {
  return look(verdict).text;
}

/** The same where only the ends of both were compared. */
export function verdictTextOfEnds(verdict: string): string {
  return verdict === 'same' ? 'It ended as then, with the same output.' : verdictText(verdict);
}

export function Verdict({ of }: { of: string }) {
  const { tone, word, shape } = look(of);
  return <Badge tone={tone} word={word} shape={shape} />;
}

interface VerdictBarProps {
  counts: Record<string, number>;
  /** What is still to come, drawn empty. */
  left: number;
  chosen: string | undefined;
  onChoose: (verdict: string | undefined) => void;
}

/** The counts as one stacked bar, with a button for each verdict below it. */
export function VerdictBar({ counts, left, chosen, onChoose }: VerdictBarProps) {
  const found = VERDICTS.filter((verdict) => (counts[verdict] ?? 0) > 0);
  const total = found.reduce((sum, verdict) => sum + (counts[verdict] ?? 0), 0) + left;
  return (
    <div class="verdicts">
      <div class="verdict-bar" aria-hidden="true">
        {found.map((verdict) => (
          <i key={verdict} class={`verdict-${verdict}`} style={{ width: `${((counts[verdict] ?? 0) / total) * 100}%` }} />
        ))}
      </div>
      <div class="row">
        {found.map((verdict) => (
          <button
            key={verdict}
            type="button"
            class="verdict-button"
            aria-pressed={chosen === verdict}
            onClick={() => onChoose(chosen === verdict ? undefined : verdict)}
          >
            <i class={`verdict-${verdict}`} />
            {verdictWord(verdict)} <b>{count(counts[verdict] ?? 0)}</b>
          </button>
        ))}
      </div>
    </div>
  );
}

/** The counts as a bar in a row of a table; read out as words. */
export function VerdictStrip({ counts }: { counts: Record<string, number> }) {
  const found = VERDICTS.filter((verdict) => (counts[verdict] ?? 0) > 0);
  const total = found.reduce((sum, verdict) => sum + (counts[verdict] ?? 0), 0);
  const words = found.map((verdict) => `${verdictWord(verdict)} ${count(counts[verdict] ?? 0)}`).join(', ');
  return (
    <span class="verdict-strip" role="img" aria-label={words || 'none yet'} title={words}>
      {found.map((verdict) => (
        <i key={verdict} class={`verdict-${verdict}`} style={{ width: `${((counts[verdict] ?? 0) / total) * 100}%` }} />
      ))}
    </span>
  );
}
