// A run that is not there is said to be missing; its place stays as large as that of the others.
function show(k) {
  const { value, caption, picture } = data.choices[k];
  one(".missing").hidden = picture !== null;
  if (picture) one("img").src = picture;
  one("img").alt = `${data.alt}, ${data.quantity} = ${value}: ${caption}`;
  say(`${data.quantity} = ${value}: ${caption}`);
}

slider("choice", (k) => `${data.choices[k].value}`, show);
show(0);
