// The login: an admin key for a session.

import { useEffect, useState } from 'preact/hooks';
import { ApiFailure } from '../api/client';
import { useAction } from '../core/action';
import { signIn } from '../core/session';
import { Field } from '../ui/Field';

export function Login() {
  const [key, setKey] = useState('');
  const action = useAction(signIn, true);
  useEffect(() => {
    document.title = 'Sign in · Dacapo';
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!(await action.run(key.trim()))) setKey('');
  };
  return (
    <main class="login">
      <form onSubmit={submit} class="stack">
        <h1>Dacapo</h1>
        <Field
          label="Admin key"
          error={textOf(action.error)}
          hint={
            <>
              It is in <code>admin.key</code> in the server’s data directory, or what <code>DACAPO_ADMIN_KEY</code> was set to.
            </>
          }
        >
          {(attributes) => (
            <input
              {...attributes}
              type="password"
              autocomplete="off"
              required
              autofocus
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
            />
          )}
        </Field>
        <button class="primary" disabled={action.isBusy || key.trim() === ''}>
          {action.isBusy ? 'Signing in …' : 'Sign in'}
        </button>
        <p class="faint">The key is traded for a session cookie and is not kept in the browser.</p>
      </form>
    </main>
  );
}

function textOf(error: ApiFailure | undefined): string | undefined {
  if (!error) return undefined;
  return error.status === 401 ? 'This is not the admin key of this server.' : error.message;
}
