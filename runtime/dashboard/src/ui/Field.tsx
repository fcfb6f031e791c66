// One field of a form: its label, what may be put in, and what is wrong with it.

import type { ComponentChildren, JSX } from 'preact';
import { useId } from 'preact/hooks';

interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  error?: string | undefined;
  children: (attributes: { id: string; 'aria-describedby'?: string; 'aria-invalid'?: boolean }) => ComponentChildren;
}

export function Field({ label, hint, error, children }: FieldProps) {
  const id = useId();
  const note = `${id}-note`;
  const attributes = { id, ...(error || hint ? { 'aria-describedby': note } : {}), ...(error ? { 'aria-invalid': true } : {}) };
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(attributes)}
      {(error || hint) && (
        <small id={note} class={error ? 'wrong' : 'faint'}>
          {error ?? hint}
        </small>
      )}
    </div>
  );
}

interface TextFieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  hint?: ComponentChildren;
  error?: string | undefined;
  input?: JSX.InputHTMLAttributes<HTMLInputElement>;
}

export function TextField({ label, value, onInput, hint, error, input }: TextFieldProps) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(attributes) => <input {...input} {...attributes} value={value} onInput={(event) => onInput(event.currentTarget.value)} />}
    </Field>
  );
}

interface SelectFieldProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  options: readonly (readonly [value: string, label: string])[];
  hint?: ComponentChildren;
}

export function SelectField({ label, value, onChange, options, hint }: SelectFieldProps) {
  return (
    <Field label={label} hint={hint}>
      {(attributes) => (
        <select {...attributes} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
          {options.map(([option, text]) => (
            <option key={option} value={option}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}
