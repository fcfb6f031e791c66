// One row of a trace: its name, its bar on the common scale, how long it took and what came of it.

import { counted, duration } from '../../core/format';
import { Icon } from '../../ui/Icon';
import { outcomeOf } from './Calls';
import { marks, type Row, type Waterfall } from './waterfall';

interface BarProps {
  row: Row;
  drawn: Waterfall;
  isFolded: boolean;
  onFold: () => void;
  onOpen: () => void;
}

export function share(part: number, whole: number): string {
  return `${((part / whole) * 100).toFixed(3)}%`;
}

export function Bar({ row, drawn, isFolded, onFold, onOpen }: BarProps) {
  const end = endOf(row);
  const looks = ['bar-row', `kind-${row.kind}`, end.isError && 'is-error', end.isOpen && 'is-open'].filter(Boolean).join(' ');
  const at = (moment: number) => share(moment - drawn.from, drawn.length);
  const took = 'call' in row.of && row.of.call.durationMs === undefined ? '' : duration(row.to - row.from);
  return (
    <div class={looks}>
      <span class="bar-name" style={{ paddingLeft: `${row.level * 14}px` }}>
        {row.children > 0 ? (
          <button
            type="button"
            class="quiet"
            aria-expanded={!isFolded}
            aria-label={`${isFolded ? 'Unfold' : 'Fold'} ${row.label}`}
            onClick={onFold}
          >
            <Icon name={isFolded ? 'right' : 'down'} />
          </button>
        ) : (
          <i class="no-fold" />
        )}
        <button
          type="button"
          class="bar-label"
          onClick={onOpen}
          title={row.label}
          aria-label={[row.label, took, end.words].filter(Boolean).join(', ')}
        >
          {row.kind === 'child' && <Icon name="runs" />}
          {row.label}
          {isFolded && <small class="faint">{counted(row.children, 'row')}</small>}
        </button>
      </span>
      <span class="bar-track" onClick={onOpen}>
        {row.segments.map((segment) => (
          <i
            key={segment.from}
            class={`bar-${segment.kind}`}
            style={{ left: at(segment.from), width: `max(2px, ${share(segment.to - segment.from, drawn.length)})` }}
          />
        ))}
        {marks(row).map((event) => (
          <b key={event.time} style={{ left: at(Date.parse(event.time)) }} />
        ))}
        <Note row={row} drawn={drawn} took={took} more={end.words} />
      </span>
    </div>
  );
}

/** The words beside a bar: after it, or before it where there is more room. */
function Note({ row, drawn, took, more }: { row: Row; drawn: Waterfall; took: string; more: string }) {
  const isCall = row.kind === 'call';
  const isBefore = isCall && (row.to - drawn.from) / drawn.length > 0.6 && (row.from - drawn.from) / drawn.length > 0.35;
  const at = isBefore
    ? {
        right: `calc(${share(drawn.from + drawn.length - row.from, drawn.length)} + 6px)`,
        maxWidth: `calc(${share(row.from - drawn.from, drawn.length)} - 8px)`,
      }
    : {
        left: `calc(${share(row.to - drawn.from, drawn.length)} + 6px)`,
        maxWidth: `calc(${share(drawn.from + drawn.length - row.to, drawn.length)} + 58px)`,
      };
  return (
    <small style={at}>
      {took}
      {isCall && more && <span class="bar-more">{took ? ` · ${more}` : more}</span>}
    </small>
  );
}

function endOf({ of }: Row): { isError: boolean; isOpen: boolean; words: string } {
  if ('call' in of) {
    return { isError: of.call.error !== undefined, isOpen: of.call.isUnanswered === true, words: outcomeOf(of.call) };
  }
  const { isError, isCancelled, isPartial } = of.span.data;
  return { isError, isOpen: isPartial, words: isError ? 'failed' : isCancelled ? 'canceled' : isPartial ? 'not ended' : '' };
}
