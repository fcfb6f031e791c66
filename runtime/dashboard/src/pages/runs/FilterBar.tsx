// The conditions of the list as chips, and the field that adds one: `status:failed`, chosen from
// what is known or typed. Everything lands in the address.

import { useRef, useState } from 'preact/hooks';
import { navigate, query, setQuery } from '../../core/router';
import { useShortcuts } from '../../core/shortcuts';
import { Icon } from '../../ui/Icon';
import { FIELDS, filterOf, isFlag, valuesOf, withValue, type Filter } from './filter';
import { useSuggestions, type Suggestion } from './suggestions';
import { TimeFilter } from './TimeFilter';

/** A change of conditions starts at the first page again. */
const FIRST_PAGE = { after: undefined, before: undefined };

export function FilterBar() {
  const filter = filterOf(query.value);
  const isFiltered = Object.keys(filter).length > 0;
  return (
    <div class="filter-bar">
      <div class="chips">
        <AddCondition filter={filter} />
        <TimeFilter filter={filter} onChange={(changes) => setQuery({ ...changes, ...FIRST_PAGE })} />
        {FIELDS.flatMap((field) =>
          valuesOf(filter, field.name).map((value) => {
            const rest = valuesOf(filter, field.name).filter((other) => other !== value);
            return (
              <span key={field.name + value} class="chip">
                <span>
                  {field.label} <b>{wordOf(field.name, value)}</b>
                </span>
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Remove the condition ${field.label} ${value}`}
                  onClick={() => setQuery({ [field.name]: rest.join(','), ...FIRST_PAGE })}
                >
                  <Icon name="close" />
                </button>
              </span>
            );
          }),
        )}
        {isFiltered && (
          <button type="button" class="quiet" onClick={() => navigate(window.location.pathname)}>
            Clear
          </button>
        )}
      </div>
    </div>
  );
}

function wordOf(name: string, value: string): string {
  if (isFlag(name)) return value === 'true' ? 'yes' : 'no';
  return name === 'status' ? value.toLowerCase().replaceAll('_', ' ') : value;
}

function AddCondition({ filter }: { filter: Filter }) {
  const [text, setText] = useState('');
  const [isOpen, setOpen] = useState(false);
  const [at, setAt] = useState(0);
  const input = useRef<HTMLInputElement>(null);
  const suggestions = useSuggestions(text, isOpen);
  useShortcuts('List', { '/': ['Filter', () => input.current?.focus()] });

  const choose = ({ field, value }: Suggestion) => {
    if (value === undefined) {
      setText(`${field.label}:`);
    } else {
      setQuery({ [field.name]: withValue(filter, field, value), ...FIRST_PAGE });
      setText('');
    }
    setAt(0);
    input.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    if (step !== 0 && suggestions.length > 0) {
      event.preventDefault();
      setOpen(true);
      setAt((at + step + suggestions.length) % suggestions.length);
    } else if (event.key === 'Enter') {
      event.preventDefault();
      const chosen = suggestions[at];
      if (chosen) choose(chosen);
    } else if (event.key === 'Escape') {
      setText('');
      setOpen(false);
      input.current?.blur();
    }
  };
  const isShown = isOpen && suggestions.length > 0;
  return (
    <div class="add-condition">
      <Icon name="filter" />
      <input
        ref={input}
        value={text}
        placeholder="Filter …"
        role="combobox"
        aria-label="Add a condition"
        aria-expanded={isShown}
        aria-controls="conditions"
        aria-autocomplete="list"
        aria-activedescendant={isShown ? `condition-${at}` : undefined}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setAt(0);
          setOpen(true);
        }}
        onFocus={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      <ul id="conditions" role="listbox" aria-label="Conditions" hidden={!isShown}>
        {suggestions.map((suggestion, place) => (
          <li
            key={suggestion.label}
            id={`condition-${place}`}
            role="option"
            aria-selected={place === at}
            onPointerDown={(event) => {
              event.preventDefault();
              choose(suggestion);
            }}
          >
            <span>{suggestion.label}</span>
            {suggestion.hint && <small class="faint">{suggestion.hint}</small>}
          </li>
        ))}
      </ul>
    </div>
  );
}
