// What the filter's field offers for what is typed: names of conditions, then their values.

import { MACHINES, useDeployments, useKnownQueues, useTasks } from '../../core/known';
import { STATUSES, statusWord } from '../../ui/Status';
import { FIELDS, isFlag, type FilterField } from './filter';

export interface Suggestion {
  field: FilterField;
  /** Without one, the condition itself is suggested. */
  value?: string;
  label: string;
  hint?: string;
}

const MAX_SHOWN = 12;

export function useSuggestions(text: string, isOpen: boolean): Suggestion[] {
  const known = useKnownQueues();
  const deployments = useDeployments() ?? [];
  const deployed = useTasks(isOpen ? undefined : '').data ?? [];
  // Tasks that are no longer deployed have runs, too.
  const tasks = [...new Set([...deployed.map((task) => task.id), ...known.tasks])].sort();
  if (!isOpen) return [];
  const colon = text.indexOf(':');
  const typed = text.slice(colon + 1).trim();
  const field = colon > 0 ? FIELDS.find((item) => item.label === text.slice(0, colon).trim()) : undefined;
  if (field) return values(field, typed);
  const fields = FIELDS.filter((item) => item.label.startsWith(typed.toLowerCase()));
  const named = fields.map((item) => ({ field: item, label: `${item.label}:`, hint: item.hint }));
  return typed === '' ? named : [...named, ...anywhere(typed)].slice(0, MAX_SHOWN);

  function values(of: FilterField, start: string): Suggestion[] {
    const all = knownValues(of);
    const fitting = all.filter(([value, word]) => fits(value, start) || fits(word, start)).slice(0, MAX_SHOWN);
    const found = fitting.map(([value, word]) => ({ field: of, value, label: word }));
    const isFree = start !== '' && of.name !== 'status' && !isFlag(of.name);
    const isKnown = all.some(([value]) => value === start);
    return isFree && !isKnown ? [...found, { field: of, value: start, label: start, hint: 'as typed' }] : found;
  }

  /** Values that are known by themselves, so that `failed` is enough. */
  function anywhere(start: string): Suggestion[] {
    const names = ['status', 'taskIdentifier', 'version', 'queue'];
    const found = FIELDS.filter((item) => names.includes(item.name)).flatMap((item) =>
      knownValues(item)
        .filter(([value, word]) => fits(value, start) || fits(word, start))
        .map(([value, word]) => ({ field: item, value, label: `${item.label}: ${word}` })),
    );
    const tag = FIELDS.find((item) => item.name === 'tag');
    return tag
      ? [...found.slice(0, MAX_SHOWN - 2), { field: tag, value: start, label: `tag: ${start}`, hint: 'as typed' }]
      : found;
  }

  function knownValues(of: FilterField): [value: string, word: string][] {
    const same = (names: readonly string[]) => names.map((name): [string, string] => [name, name]);
    switch (of.name) {
      case 'status':
        return STATUSES.map((status) => [status, statusWord(status)]);
      case 'taskIdentifier':
        return same(tasks);
      case 'queue':
        return same(known.queues);
      case 'version':
        return deployments.map((item) => [item.version, `${item.version} ${item.component}`]);
      case 'machine':
        return same(MACHINES);
      case 'isTest':
      case 'isReplay':
        return [
          ['true', 'yes'],
          ['false', 'no'],
        ];
      default:
        return [];
    }
  }
}

function fits(value: string, start: string): boolean {
  return value.toLowerCase().includes(start.toLowerCase());
}
