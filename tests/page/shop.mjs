// A site of others, which the task `order` asks for prices and sends mails to.

import { createServer } from "node:http";

/** Starts the site; `url` is where it is, `close` ends it. */
export async function openShop() {
  const site = createServer((request, response) => {
    request.resume();
    const [, , id = "0"] = request.url.split("/");
    // A price is as high as its text is long.
    response.end("x".repeat(3 + (Number(id) % 7)));
  });
  await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
  const close = () =>
    new Promise((resolve) => {
      site.close(resolve);
      site.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${site.address().port}`, close };
}

/** Lets tasks of `dev` reach the shop. */
export function allowShop(server) {
  return server.send("PUT", "/admin/v1/environments/dev/egress", { rules: ["127.0.0.1"] });
}
