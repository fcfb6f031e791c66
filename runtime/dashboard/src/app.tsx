// What is shown: the login, or the frame with the page that the address names.

import { useEffect } from 'preact/hooks';
import { environment, findSession, lastEnvironment, session } from './core/session';
import { navigate, pathTo, segments } from './core/router';
import { Login } from './pages/login';
import { pageAt } from './routes';
import { Shell } from './shell/Shell';
import { Toasts } from './shell/Toasts';
import { Page } from './ui/Page';
import { Empty, Failure, Loading } from './ui/states';

export function App() {
  return (
    <>
      <Content />
      <Toasts />
    </>
  );
}

function Content() {
  switch (session.value) {
    case 'unknown':
      return (
        <p class="boot" aria-busy="true">
          Dacapo
        </p>
      );
    case 'unreachable':
      return <Failure text="The server does not answer. Check that it runs." retry={() => void findSession()} />;
    case 'signed-out':
      return <Login />;
    case 'signed-in':
      return <SignedIn />;
  }
}

function SignedIn() {
  const [slug, ...rest] = segments.value;
  const fallback = lastEnvironment();
  useEffect(() => {
    if (slug === undefined && fallback !== undefined) navigate(pathTo(fallback), true);
  }, [slug, fallback]);
  if (slug === undefined) return <Loading />;
  return (
    <Shell>
      {environment.value ? (
        pageAt(rest)
      ) : (
        <Page title="Not found">
          <Empty title={`There is no environment “${slug}”`}>
            <p>
              Choose one at the top. A branch of <code>preview</code> comes into being with its first deployment.
            </p>
          </Empty>
        </Page>
      )}
    </Shell>
  );
}
