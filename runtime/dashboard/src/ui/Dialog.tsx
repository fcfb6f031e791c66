// The one dialog: modal, closed by Esc or its button, focus back to where it was. And the question
// before something that cannot be taken back.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { useAction } from '../core/action';
import { environment } from '../core/session';
import { Icon } from './Icon';
import { Refusal } from './states';

interface DialogProps {
  title: string;
  onClose: () => void;
  wide?: boolean;
  children: ComponentChildren;
  footer?: ComponentChildren;
}

export function Dialog({ title, onClose, wide, children, footer }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement as HTMLElement | null;
    dialog?.showModal();
    focusFirst(dialog);
    return () => {
      // While it is open, nothing outside of it can have the focus.
      dialog?.close();
      before?.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={wide ? 'wide' : undefined}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2>{title}</h2>
        <button type="button" class="quiet" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <div class="dialog-body">{children}</div>
      {footer && <footer>{footer}</footer>}
    </dialog>
  );
}

/** The first field, or what the form is there for, rather than the button that closes. */
function focusFirst(dialog: HTMLDialogElement | null): void {
  const within = (selector: string) => dialog?.querySelector<HTMLElement>(`.dialog-body ${selector}`);
  (
    within('[autofocus]') ??
    within(':is(input, select, textarea):not(:disabled)') ??
    within('button.primary, button.danger')
  )?.focus();
}

/** The environment of the page, where that is for production. */
function productionSlug(): string | undefined {
  return environment.value?.type === 'PRODUCTION' ? environment.value.slug : undefined;
}

interface ConfirmProps {
  title: string;
  /** The word on the button. */
  verb: string;
  isDangerous?: boolean;
  /** The word on the other. */
  otherwise?: string;
  /** Must be typed before the button works. */
  typed?: string;
  /** Whether the environment must be typed where it is one for production. */
  isGuarded?: boolean;
  run: () => Promise<string | undefined | void>;
  onClose: () => void;
  children?: ComponentChildren;
}

/** Asks, does it, stays open with the reason where it failed. */
export function Confirm(props: ConfirmProps) {
  const { title, verb, otherwise = 'Leave it', isDangerous, isGuarded, run, onClose, children } = props;
  const typed = props.typed ?? (isGuarded ? productionSlug() : undefined);
  const action = useAction(run, true);
  const [text, setText] = useState('');
  const isReady = typed === undefined || text === typed;
  const submit = async (event: Event) => {
    event.preventDefault();
    if (isReady && (await action.run())) onClose();
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit} class="stack">
        {children}
        {typed !== undefined && (
          <label class="field">
            <span>
              Type <b>{typed}</b> to go on
            </span>
            <input value={text} onInput={(event) => setText(event.currentTarget.value)} autocomplete="off" autofocus />
          </label>
        )}
        <Refusal error={action.error} />
        <div class="actions">
          <button type="button" onClick={onClose}>
            {otherwise}
          </button>
          <button class={isDangerous ? 'danger' : 'primary'} disabled={!isReady || action.isBusy}>
            {action.isBusy ? 'Working …' : verb}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
