// What differs in the calls that reach beyond a run. New hosts come first, in red: they are where
// data would newly go.

import type { ComponentChildren } from 'preact';
import type { EffectCall, EffectChanges } from '../../api/types';
import { counted } from '../../core/format';
import { Section } from '../../ui/Page';
import { Value } from './ComparisonView';

interface EffectsProps {
  effects: EffectChanges;
  onIgnore: ((entry: string) => void) | undefined;
}

export function Effects(props: EffectsProps) {
  return (
    <Section title="Calls">
      <EffectList {...props} />
    </Section>
  );
}

/** In place of the calls, where a side has none on record. */
export function NoEffects({ why }: { why: string }) {
  return (
    <Section title="Calls">
      <p>Calls were not compared: {why}.</p>
    </Section>
  );
}

/** Of the run itself, or of a child that was executed with it. */
export function EffectList({ effects, onIgnore }: EffectsProps) {
  const { added, removed, changed, reordered, newHosts, unmatched, matched } = effects;
  const lists = [added, removed, changed, reordered, newHosts, unmatched];
  const total = lists.reduce((sum, list) => sum + list.items.length, 0);
  const more = lists.reduce((sum, list) => sum + (list.more ?? 0), 0);
  // A call that is not in the recording is an added one, too, unless a rule overlooks it: it is shown once.
  const isIn = (list: readonly EffectCall[], call: EffectCall) => list.some((other) => nameOf(other) === nameOf(call));
  const isOverlooked = (call: EffectCall) => !isIn(added.items, call) && !added.more;
  const calls = (items: readonly EffectCall[], word: string, tone: string) =>
    items.map((call, place) => (
      <Call key={`${word}${place}`} word={word} tone={tone} call={call} onIgnore={tone === 'idle' ? undefined : onIgnore}>
        {call.arguments && <pre>{call.arguments}</pre>}
      </Call>
    ));
  return (
    <>
      {newHosts.items.length > 0 && (
        <div class="new-hosts" role="alert">
          <b>{counted(newHosts.items.length + (newHosts.more ?? 0), 'new host')}</b> got no request then:{' '}
          {newHosts.items.map((host) => (
            <code key={host}>{host}</code>
          ))}
        </div>
      )}
      {total === 0 && <p class="faint">It makes the same calls as then.</p>}
      {matched > 0 && <p class="faint">{counted(matched, 'call')} matched.</p>}
      <ul class="changes">
        {calls(
          unmatched.items.filter((call) => !isOverlooked(call)),
          'added, not in the recording',
          'bad',
        )}
        {calls(
          added.items.filter((call) => !isIn(unmatched.items, call)),
          'added',
          'now',
        )}
        {calls(removed.items, 'removed', 'then')}
        {changed.items.map((call, place) => (
          <Call key={`changed${place}`} word="changed" tone="waiting" call={call} onIgnore={onIgnore}>
            <Value text={call.before} side="then" />
            <Value text={call.after} side="now" />
          </Call>
        ))}
        {calls(unmatched.items.filter(isOverlooked), 'overlooked by a rule, not in the recording', 'idle')}
        {reordered.items.map((call, place) => (
          <Call key={`moved${place}`} word="moved" tone="waiting" call={call} onIgnore={onIgnore}>
            <p class="faint">
              From place {call.from} to place {call.to}.
            </p>
          </Call>
        ))}
      </ul>
      {more > 0 && <p class="faint">{counted(more, 'more difference')} not shown.</p>}
    </>
  );
}

function nameOf(call: EffectCall): string {
  return `${call.kind} ${call.target} ${call.arguments}`;
}

interface CallProps {
  word: string;
  tone: string;
  call: { kind: string; target: string };
  onIgnore: ((entry: string) => void) | undefined;
  children: ComponentChildren;
}

function Call({ word, tone, call, onIgnore, children }: CallProps) {
  // Rules name HTTP calls by the start of the URL, others by kind and target.
  const url = /https?:\/\/\S+/.exec(call.target)?.[0].split('?')[0];
  const rule = call.kind === 'http' && url ? url : `${call.kind} ${call.target}`.trim();
  return (
    <li>
      <header>
        <span>
          <span class={`effect-word effect-${tone}`}>{word}</span> <b>{call.kind}</b> <code>{call.target}</code>
        </span>
        {onIgnore && (
          <button type="button" class="quiet" onClick={() => onIgnore(rule)} title={`Overlook ${rule} from now on`}>
            Ignore
          </button>
        )}
      </header>
      {children}
    </li>
  );
}
