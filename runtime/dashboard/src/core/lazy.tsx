// Pages that are loaded when they are first visited.

import type { ComponentChildren, ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { Failure, Loading } from '../ui/states';

/** A component that loads `load` when it is first drawn; `meanwhile` is shown until then. */
export function lazy<P extends object>(
  load: () => Promise<ComponentType<P>>,
  meanwhile: ComponentChildren = <Loading />,
): ComponentType<P> {
  let loaded: ComponentType<P> | undefined;
  return function Lazy(props: P) {
    const [failed, setFailed] = useState(false);
    const [, redraw] = useState(0);
    // Drawn before, loaded since: another one may have asked for it in between, so that it is drawn again in any case.
    const isDrawn = loaded !== undefined;
    useEffect(() => {
      if (isDrawn) return;
      load().then(
        (component) => {
          loaded = component;
          redraw((count) => count + 1);
        },
        () => setFailed(true),
      );
    }, []);
    if (loaded) {
      const Loaded = loaded;
      return <Loaded {...props} />;
    }
    if (failed) return <Failure text="A part of the page could not be loaded. Reload it: the server may be newer." />;
    return <>{meanwhile}</>;
  };
}
